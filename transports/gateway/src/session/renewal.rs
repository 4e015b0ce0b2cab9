//! The gateway's credentials as their files are: read again before each connection, and looked at in the pauses between them.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use twin_transports::auth::Credentials;

use crate::limits::CREDENTIALS_LOOK_INTERVAL;

/// Credentials that may be replaced while the gateway runs.
#[derive(Debug)]
pub(crate) struct Renewal(Mutex<State>);

#[derive(Debug)]
struct State {
    /// What the last connection was tried with.
    shown: Arc<Credentials>,
    /// What is wrong with the files, as it was told last.
    told: Option<String>,
}

impl State {
    /// What the files hold, if it is something else than what was shown and can be.
    fn look(&mut self) -> Option<Credentials> {
        match self.shown.renewed() {
            Ok(renewed) => {
                self.told = None;
                renewed
            }
            Err(error) => {
                // Once: it may stay so, and is looked at again and again.
                let text = error.to_string();
                if self.told.as_ref() != Some(&text) {
                    tracing::warn!(%error, "the gateway goes on with the credentials that it has");
                    self.told = Some(text);
                }
                None
            }
        }
    }
}

impl Renewal {
    pub(crate) fn new(credentials: Credentials) -> Self {
        Self(Mutex::new(State { shown: Arc::new(credentials), told: None }))
    }

    /// What the next connection is to be made with.
    pub(crate) fn to_show(&self) -> Arc<Credentials> {
        let mut state = self.0.lock();
        if let Some(renewed) = state.look() {
            tracing::info!("the gateway's credentials were renewed");
            state.shown = Arc::new(renewed);
        }
        Arc::clone(&state.shown)
    }

    /// Waits so long, or until there are other credentials than those that were shown: with them it is worth trying at once, whatever
    /// the last ones were refused for. Each is tried once, so what is refused again waits its time.
    pub(crate) async fn renewed_within(&self, pause: Duration) {
        let looked = async {
            let mut looks = tokio::time::interval(CREDENTIALS_LOOK_INTERVAL);
            loop {
                // The first is due at once.
                looks.tick().await;
                if self.0.lock().look().is_some() {
                    return;
                }
            }
        };
        if pause < CREDENTIALS_LOOK_INTERVAL {
            // The next connection comes soon enough, and looks by itself.
            drop(tokio::time::timeout(pause, std::future::pending::<()>()).await);
        } else {
            drop(tokio::time::timeout(pause, looked).await);
        }
    }
}

#[cfg(test)]
mod tests {
    use twin_core::ids::{GatewayName, SiteId};
    use twin_transports::auth::GatewaySecret;
    use twin_transports::entropy::SystemEntropy;
    use twin_transports::tls::{NodeCertificates, SERVER_NAME};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn new_credentials_end_a_pause_once_and_bad_ones_never() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gw.json");
        let ca = NodeCertificates::load_or_create(folder.path(), SERVER_NAME, &[]).unwrap().ca_pem();
        let made = || Credentials {
            site: SiteId::new("s").unwrap(),
            name: GatewayName::new("g").unwrap(),
            product_key: "pk".into(),
            identity: GatewaySecret::generate(&SystemEntropy::new()).unwrap().into(),
            ca: ca.clone(),
            server_name: SERVER_NAME.into(),
            file: None,
        };
        made().save(&path).unwrap();
        let renewal = Renewal::new(Credentials::load(&path).unwrap());
        let (pause, long) = (Duration::from_secs(60), Duration::from_secs(59));
        let waited = async || {
            let begun = tokio::time::Instant::now();
            renewal.renewed_within(pause).await;
            begun.elapsed()
        };
        assert!(waited().await > long, "nothing is new");
        std::fs::write(&path, "{").unwrap();
        assert!(waited().await > long, "half of a file is none");
        let new = made();
        new.save(&path).unwrap();
        assert!(waited().await < CREDENTIALS_LOOK_INTERVAL, "before the pause began");
        assert_eq!(renewal.to_show().identity, new.identity);
        assert!(waited().await > long, "they were tried");
        let (elapsed, ()) = tokio::join!(waited(), async {
            tokio::time::advance(Duration::from_secs(20)).await;
            made().save(&path).unwrap();
        });
        assert!(elapsed < Duration::from_secs(22), "{elapsed:?}");
    }
}
