//! Why a session is refused or ended. Codes are stable: gateways decide by them, metrics count by them.

use std::time::Duration;

use quinn::VarInt;

use crate::codec::FrameError;
use crate::frames::session::Refused;

macro_rules! codes {
    ($( $(#[$doc:meta])* $variant:ident = $number:literal, $code:literal, $retry:expr; )*) => {
        /// Stable code of a refusal.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum RefusalCode {
            $( $(#[$doc])* $variant, )*
        }

        impl RefusalCode {
            /// All codes, in a fixed order.
            pub const ALL: &'static [Self] = &[$( Self::$variant ),*];

            /// As it stands in the frame and in metrics.
            pub const fn as_str(self) -> &'static str {
                match self { $( Self::$variant => $code, )* }
            }

            /// The QUIC application error code of the close that follows.
            pub const fn close_number(self) -> u32 {
                match self { $( Self::$variant => $number, )* }
            }

            /// From the frame's code; `None` for one of a newer release.
            pub fn from_code(code: &str) -> Option<Self> {
                match code { $( $code => Some(Self::$variant), )* _ => None }
            }

            /// When trying again makes sense; `None`: not without a change on the gateway's side.
            pub const fn retry_after(self) -> Option<Duration> {
                match self { $( Self::$variant => $retry, )* }
            }
        }
    };
}

const SOON: Option<Duration> = Some(Duration::from_secs(1));
const LATER: Option<Duration> = Some(Duration::from_secs(5));

codes! {
    /// Unknown gateway, wrong product key, wrong secret, another site's name: one code and one text for all, so that nobody
    /// learns which gateways exist.
    BadCredential = 0x100, "bad-credential", Some(Duration::from_secs(60));
    /// The backend says that the gateway may not speak for that site.
    OtherSite = 0x101, "other-site", None;
    /// The protocol's version is not spoken here.
    UnsupportedProtocol = 0x102, "unsupported-protocol", None;
    /// A frame that is not what the protocol says.
    BadFrame = 0x103, "bad-frame", LATER;
    /// A frame longer than the limit.
    FrameTooLong = 0x104, "frame-too-long", LATER;
    /// The handshake took too long.
    HandshakeTimeout = 0x105, "handshake-timeout", SOON;
    /// Something other than the handshake came before it was over.
    NotAuthenticated = 0x106, "not-authenticated", LATER;
    /// The boot number is not above the committed one: the outbox needs a new id.
    StaleBoot = 0x107, "stale-boot", None;
    /// A newer session of the same gateway took over.
    Replaced = 0x108, "replaced", LATER;
    /// The credentials were revoked.
    Revoked = 0x109, "revoked", None;
    /// The node stops.
    ShuttingDown = 0x10a, "shutting-down", SOON;
    /// Too many connections, or another budget used up.
    Busy = 0x10b, "busy", LATER;
    /// The node cannot serve the site now (no leader, or leadership lost).
    Unavailable = 0x10c, "unavailable", SOON;
    /// A fault of the node.
    Internal = 0x10d, "internal", LATER;
    /// Another gateway has a session with these credentials, and the site lets no second one in.
    CredentialInUse = 0x10e, "credential-in-use", Some(Duration::from_secs(30));
    /// A batch came for which its stream had no credit.
    CreditExceeded = 0x10f, "credit-exceeded", LATER;
    /// The hello says that TLS showed a certificate, and it showed none.
    CertificateMissing = 0x120, "certificate-missing", Some(Duration::from_secs(60));
    /// The certificate's key is not the one that is registered for this gateway, or there is no such gateway.
    CertificateUnknown = 0x121, "certificate-unknown", Some(Duration::from_secs(60));
    /// The certificate has ended.
    CertificateExpired = 0x122, "certificate-expired", Some(Duration::from_secs(60));
    /// The certificate, or the chain that it came with, is not taken: too large, no X.509, a key of another kind.
    BadCertificate = 0x123, "bad-certificate", Some(Duration::from_secs(60));
}

/// A refusal of a connection or a session.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {message}", code.as_str())]
pub struct SessionRefusal {
    /// Which.
    pub code: RefusalCode,
    /// For people.
    pub message: String,
    /// When trying again makes sense; `None`: not without a change on the gateway's side.
    pub retry_after: Option<Duration>,
}

impl SessionRefusal {
    /// With the code's usual retry time.
    pub fn new(code: RefusalCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), retry_after: code.retry_after() }
    }

    /// The only words for a credential that does not hold.
    pub fn bad_credential() -> Self {
        Self::new(
            RefusalCode::BadCredential,
            "site, name, product key or secret is wrong, or the gateway was revoked; get new credentials from the back office",
        )
    }

    /// The frame that says so.
    pub fn to_frame(&self) -> Refused {
        Refused {
            code: self.code.as_str().to_owned(),
            message: self.message.clone(),
            retry_after_ms: self.retry_after.map(|after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX)),
        }
    }

    /// The close that follows the frame; its reason repeats the code for a peer that never reads the frame.
    pub fn close(&self, connection: &quinn::Connection) {
        connection.close(VarInt::from_u32(self.code.close_number()), self.code.as_str().as_bytes());
    }

    /// For a frame that could not be read. `None`: the link failed, and there is nobody to refuse.
    pub fn from_frame_error(error: &FrameError) -> Option<Self> {
        match error {
            FrameError::TooLong { .. } => Some(Self::new(RefusalCode::FrameTooLong, error.to_string())),
            FrameError::Truncated { .. } | FrameError::Malformed { .. } => {
                Some(Self::new(RefusalCode::BadFrame, error.to_string()))
            }
            FrameError::Io(_) => None,
        }
    }

    /// The code in a peer's close of the connection, where it never read (or got) the frame.
    pub fn from_connection_error(error: &quinn::ConnectionError) -> Option<Self> {
        use quinn::ConnectionError::{ApplicationClosed, ConnectionClosed};
        let close = match error {
            ApplicationClosed(close) => close,
            // What TLS refuses is refused before anything can be said, but in the close.
            ConnectionClosed(close) if is_of_certificate(close.error_code) => {
                let told = String::from_utf8_lossy(&close.reason);
                return Some(Self::new(RefusalCode::BadCertificate, format!("the node refuses it: {told}")));
            }
            _ => return None,
        };
        let code = RefusalCode::from_code(std::str::from_utf8(&close.reason).ok()?)?;
        Some(Self::new(code, "the node closed the connection"))
    }
}

/// TLS alerts about a client's certificate: bad, unsupported, revoked, expired, unknown, and a signature that is not its key's.
const CERTIFICATE_ALERTS: [u8; 6] = [42, 43, 44, 45, 46, 51];

/// Is it TLS's refusal of the other side's certificate?
pub(crate) fn is_of_certificate(code: quinn::TransportErrorCode) -> bool {
    CERTIFICATE_ALERTS.iter().any(|alert| code == quinn::TransportErrorCode::crypto(*alert))
}
