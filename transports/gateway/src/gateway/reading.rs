//! Reading twins of the site.

use twin_core::ids::TwinId;
use twin_core::refusal::Refusal;
use twin_core::view::TwinView;

use super::Gateway;
use crate::error::GetError;
use crate::limits::{GET_TIMEOUT, READ_CALL_MAX};
use crate::readings::Viewed;

impl Gateway {
    /// A linearizable reading of a twin of the site. Readings that are asked for at the same time share frames; if the session
    /// ends before the answer, it is asked again in the next one.
    pub async fn get(&self, twin: &TwinId) -> Result<TwinView, GetError> {
        let viewed = self.viewed(vec![twin.clone()]).await?;
        // One was asked for.
        viewed.into_iter().next().ok_or(GetError::NotConnected)?.map_err(GetError::Refused)
    }

    /// As [`Gateway::get`] for many, in the order of the ids: each is read, or refused, by itself. Of more than
    /// [`READ_CALL_MAX`] the first are answered before the rest is asked.
    pub async fn read_all(&self, twins: &[TwinId]) -> Result<Vec<Result<TwinView, Refusal>>, GetError> {
        let mut all = Vec::new();
        for some in twins.chunks(READ_CALL_MAX) {
            let viewed = self.viewed(some.to_vec()).await?;
            if all.is_empty() {
                all = viewed;
            } else {
                all.extend(viewed);
            }
        }
        Ok(all)
    }

    async fn viewed(&self, twins: Vec<TwinId>) -> Result<Viewed, GetError> {
        let deadline = self.shared.clock.monotonic() + GET_TIMEOUT;
        let receiver = self.shared.readings.lock().ask(twins, deadline)?;
        self.shared.readings_wake.notify_one();
        tokio::select! {
            viewed = tokio::time::timeout(GET_TIMEOUT, receiver) => match viewed {
                Ok(viewed) => viewed.map_err(|_| GetError::NotConnected),
                Err(_) if self.shared.readings.lock().is_linked() => Err(GetError::TimedOut),
                Err(_) => Err(GetError::NotConnected),
            },
            () = self.shared.stop.cancelled() => Err(GetError::NotConnected),
        }
    }
}
