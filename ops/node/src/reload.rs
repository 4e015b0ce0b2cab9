//! New certificates without the REST, as SIGHUP asks for them: a change like any other, so the audit log has it before it is begun.

use std::sync::Arc;

use actix_web::http::StatusCode;
use twin_transports::tls::{NodeCertificates, Reloaded, TlsError};

use crate::audit::{Audit, Kind, Record};

/// Why the certificates in use stay.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// What is in the files.
    #[error(transparent)]
    Bad(#[from] TlsError),
    /// No change is unseen.
    #[error("nothing was changed, because it could not be logged before: {0}; make room on the disk, and ask again")]
    Unlogged(String),
}

/// Reads the files again for `who`. **Invariant:** what was asked is in the audit log, on the disk, before it is begun, and its outcome
/// as the REST would have answered.
pub(crate) async fn reload(
    certificates: Arc<NodeCertificates>,
    audit: &Audit,
    who: &str,
) -> Result<Reloaded, ReloadError> {
    let mut record = Record::new(Kind::Changes, "certificates:reload");
    record.who = Some(who.to_owned());
    let begun = audit.write(record.clone()).await.map_err(|error| ReloadError::Unlogged(error.to_string()))?;
    record.begun = Some(begun);
    let reloaded = match tokio::task::spawn_blocking(move || certificates.reload()).await {
        Ok(reloaded) => reloaded,
        Err(died) => std::panic::resume_unwind(died.into_panic()),
    };
    match &reloaded {
        Ok(now) => {
            record.status = Some(StatusCode::OK.as_u16());
            record.detail = Some(format!("gateways see {}, REST clients {}", now.quic_sha256, now.rest_sha256));
        }
        Err(error) => {
            record.status = Some(StatusCode::CONFLICT.as_u16());
            record.code = Some("bad-certificate".to_owned());
            record.detail = Some(error.to_string());
        }
    }
    // It is done, whatever becomes of the line; one that is lost is counted, and logged by whoever lost it.
    let _counted = audit.write(record).await;
    Ok(reloaded?)
}
