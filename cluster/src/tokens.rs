//! Admin tokens, in the directory: several, named, each with a scope and perhaps an end.
//!
//! **Invariant:** a token is nowhere but with whoever was given it. The row has its SHA-256, and a token that is made here has 256
//! random bits, so the hash tells nothing: a stolen data directory can speak as nobody.
//!
//! **The wall clock and the end of a token.** Nothing about twins is decided by wall time. The end of a credential is: there is no
//! other way to say "until March", and a clock that is wrong does no more than refuse its holder early or late. Tokens without an
//! end do not look at the clock.
//!
//! A token is `twm.<name>.<secret>`: the name finds the row and is no secret, and whoever finds a lost token knows which one to
//! revoke. What has not that form is held against the token [`FIRST_TOKEN`], which the node's data directory hands over.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use ring::rand::SecureRandom;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;
use twin_core::ids::TokenName;
use twin_core::numbers::WallTime;
use twin_core::record;
use twin_core::refusal::Refusal;
use twin_core::used_keys::KeyedChange;
use twin_storage::RowChange;
use twin_storage::families::{Family, cluster as cluster_family, token as token_family};

use crate::cluster::Cluster;
use crate::directory::{Directory, unreadable};
use crate::limits::{TOKEN_KEYS_MAX, TOKENS_MAX};
use crate::rows::{ClusterRow, decode, encode};

/// Name of the token that is in a node's data directory at its first start.
pub const FIRST_TOKEN: &str = "admin";
/// What a token made here begins with, so that one in the wrong place can be found.
const PREFIX: &str = "twm.";
/// Random bytes of a new token.
const SECRET_BYTES: usize = 32;

/// What a token may do. Each includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Look at twins and sites.
    Read,
    /// Also change twins and call their devices.
    Steer,
    /// Also change sites, gateways and tokens, and look at nodes and the audit log.
    Operate,
}

impl Scope {
    /// All, from the least.
    pub const ALL: [Self; 3] = [Self::Read, Self::Steer, Self::Operate];

    /// As it stands in bodies.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Steer => "steer",
            Self::Operate => "operate",
        }
    }

    /// From a body.
    pub fn from_text(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == text)
    }
}

record! {
    /// A token, in the directory.
    #[derive(Clone, Debug, PartialEq)]
    pub struct TokenRow {
        /// When it was made.
        pub created_at: WallTime,
        /// What it may do.
        pub scope: Scope,
        /// SHA-256 of the token's text.
        pub hash: [u8; 32],
        /// From then on it is refused; `None`: never.
        pub expires_at: Option<WallTime>,
    }
}

impl TokenRow {
    fn has_ended(&self, now: WallTime) -> bool {
        self.expires_at.is_some_and(|end| now >= end)
    }
}

/// A token as it is shown: without anything that it could be guessed from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenView {
    /// Its name.
    pub name: TokenName,
    /// What it may do.
    pub scope: Scope,
    /// When it was made.
    pub created_at: WallTime,
    /// From then on it is refused; `None`: never.
    pub expires_at: Option<WallTime>,
    /// That is now.
    pub expired: bool,
}

/// A new token. Its text is here and nowhere else.
#[derive(Clone, PartialEq, Eq)]
pub struct NewToken {
    /// What it is.
    pub view: TokenView,
    /// The token.
    pub text: String,
}

/// Whoever showed a token that holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// The token's name.
    pub name: TokenName,
    /// What it may do.
    pub scope: Scope,
    hash: [u8; 32],
}

/// Why a token was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotAdmitted {
    /// No such token, or revoked: which, is told to nobody.
    Unknown,
    /// It was a token: only whoever has its secret hears so.
    Expired {
        /// Which one.
        name: TokenName,
    },
    /// Tokens can't be read at the moment.
    Unavailable(Refusal),
}

/// Why a token was not made or revoked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The name is taken.
    #[error("there is a token {name} already, and tokens are shown once: revoke it first, or choose another name")]
    Exists {
        /// The name.
        name: TokenName,
    },
    /// There is none of that name.
    #[error("there is no token {name}")]
    NotFound {
        /// The name.
        name: TokenName,
    },
    /// Nobody could make a token any more.
    #[error(
        "{name} is the last token of scope operate without an end: make another one first, or nobody could make tokens any more"
    )]
    Last {
        /// The name.
        name: TokenName,
    },
    /// As many as there may be.
    #[error("a cluster has at most {TOKENS_MAX} tokens: revoke those that are not used")]
    TooMany,
    /// The directory says no.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

fn hash(text: &str) -> [u8; 32] {
    let digest = digest(&SHA256, text.as_bytes());
    let mut hash = [0; 32];
    hash.copy_from_slice(digest.as_ref());
    hash
}

/// Whose token this claims to be.
fn claimed(text: &str) -> Option<TokenName> {
    match text.strip_prefix(PREFIX).and_then(|rest| rest.rsplit_once('.')) {
        Some((name, _)) => TokenName::new(name).ok(),
        None => TokenName::new(FIRST_TOKEN).ok(),
    }
}

impl Directory {
    fn token(&self, name: &TokenName) -> Result<Option<TokenRow>, Refusal> {
        let read = || self.get(Family::Token, &token_family::key(name), "token");
        self.tokens_read.row(name, || self.reader().applied(), read)
    }

    fn tokens(&self) -> Result<Vec<(TokenName, TokenRow)>, Refusal> {
        let scan = self.reader().scan(Family::Token, &[], None, TOKENS_MAX).map_err(unreadable)?;
        scan.rows
            .iter()
            .map(|(key, value)| {
                Ok((token_family::decode(key).map_err(unreadable)?, decode("token", value).map_err(unreadable)?))
            })
            .collect()
    }

    fn view(name: TokenName, row: &TokenRow, now: WallTime) -> TokenView {
        let TokenRow { created_at, scope, expires_at, .. } = *row;
        TokenView { name, scope, created_at, expires_at, expired: row.has_ended(now) }
    }

    /// **Invariant:** whatever is wrong with the token, the same is computed: one hash, one row looked for, one comparison that takes
    /// as long wherever it fails. An attacker learns nothing from the time but whether a name is taken, and names are no secret.
    fn admit(&self, text: &str, now: WallTime) -> Result<Admin, NotAdmitted> {
        let given = hash(text);
        let name = claimed(text);
        let row = name.as_ref().map(|name| self.token(name)).transpose().map_err(NotAdmitted::Unavailable)?.flatten();
        let holds = bool::from(row.as_ref().map_or([0; 32], |row| row.hash).ct_eq(&given));
        match (name, row) {
            (Some(name), Some(row)) if holds => {
                if row.has_ended(now) {
                    return Err(NotAdmitted::Expired { name });
                }
                Ok(Admin { name, scope: row.scope, hash: given })
            }
            _ => Err(NotAdmitted::Unknown),
        }
    }

    async fn add_token(
        &self,
        name: TokenName,
        row: impl FnOnce() -> Result<(TokenRow, String), Refusal>,
        now: WallTime,
        once: Option<KeyedChange>,
    ) -> Result<NewToken, TokenError> {
        let _writing = self.writing().await?;
        let mut changes = Vec::new();
        if let Some(once) = once {
            changes.push(self.spend(&name, once).await?);
        }
        if self.token(&name)?.is_some() {
            return Err(TokenError::Exists { name });
        }
        if self.tokens()?.len() >= TOKENS_MAX {
            return Err(TokenError::TooMany);
        }
        let (row, text) = row()?;
        changes.push(RowChange::put(Family::Token, token_family::key(&name), encode(&row)));
        self.commit(changes).await?;
        Ok(NewToken { view: Self::view(name, &row, now), text })
    }

    /// The row that remembers the key of a token that is made. Refused where it made a token before, also one that was revoked since.
    async fn spend(&self, name: &TokenName, once: KeyedChange) -> Result<RowChange, Refusal> {
        let mut cluster = self.cluster()?;
        let time = self.time()?;
        if cluster.token_keys.find(&once, time, TOKEN_KEYS_MAX, &"tokens made")?.is_some() {
            self.confirm().await?;
            return Err(Refusal::KeySpent {
                key: once.key.to_string(),
                what: format!("token {name}"),
                instead: format!("revoke it (DELETE /api/v1/tokens/{name}) and make another with a new key"),
            });
        }
        cluster.token_keys.remember(once, true, time, TOKEN_KEYS_MAX);
        Ok(RowChange::put(Family::Cluster, cluster_family::key(), encode(&cluster)))
    }

    async fn revoke_token(&self, name: &TokenName) -> Result<(), TokenError> {
        let _writing = self.writing().await?;
        if self.token(name)?.is_none() {
            return Err(TokenError::NotFound { name: name.clone() });
        }
        let lasting = |row: &TokenRow| row.scope == Scope::Operate && row.expires_at.is_none();
        let tokens = self.tokens()?;
        let others = tokens.iter().any(|(other, row)| other != name && lasting(row));
        if !others && tokens.iter().any(|(other, row)| other == name && lasting(row)) {
            return Err(TokenError::Last { name: name.clone() });
        }
        Ok(self.commit(vec![RowChange::delete(Family::Token, token_family::key(name))]).await?)
    }

    /// What a data directory hands over becomes the token [`FIRST_TOKEN`], in place of an older one; but the same text only once:
    /// a token that was revoked does not come back because its file was forgotten.
    async fn hand_over(&self, text: &str, now: WallTime) -> Result<(), Refusal> {
        let _writing = self.writing().await?;
        let cluster = self.cluster()?;
        let hash = hash(text);
        if cluster.handed_over == Some(hash) {
            return Ok(());
        }
        let name = TokenName::new(FIRST_TOKEN).map_err(|error| Refusal::Invalid { message: error.to_string() })?;
        let row = TokenRow { created_at: now, scope: Scope::Operate, hash, expires_at: None };
        self.commit(vec![
            RowChange::put(Family::Token, token_family::key(&name), encode(&row)),
            RowChange::put(
                Family::Cluster,
                cluster_family::key(),
                encode(&ClusterRow { handed_over: Some(hash), ..cluster }),
            ),
        ])
        .await
    }

    fn was_handed_over(&self) -> Result<bool, Refusal> {
        Ok(self.cluster()?.handed_over.is_some() || !self.tokens()?.is_empty())
    }
}

impl Cluster {
    /// Whose token is this?
    pub fn admit(&self, text: &str) -> Result<Admin, NotAdmitted> {
        self.inner.directory.admit(text, self.inner.clock.wall())
    }

    /// Does it still hold? For answers that take long: they end with the token.
    pub fn still_admits(&self, admin: &Admin) -> bool {
        match self.inner.directory.token(&admin.name) {
            Ok(Some(row)) => row.hash == admin.hash && !row.has_ended(self.inner.clock.wall()),
            Ok(None) => false,
            // What cannot be read now was read before.
            Err(_) => true,
        }
    }

    /// Makes a token. Its text is in the answer and nowhere else; with a key that made one before, it is [`Refusal::KeySpent`].
    pub async fn add_token(
        &self,
        name: TokenName,
        scope: Scope,
        lives_for: Option<Duration>,
        once: Option<KeyedChange>,
    ) -> Result<NewToken, TokenError> {
        let now = self.inner.clock.wall();
        let random = &*self.inner.options.random;
        let named = name.clone();
        let make = || {
            let text = format!("{PREFIX}{named}.{}", secret(random)?);
            let expires_at = lives_for.map(|lives_for| {
                WallTime::new(now.get().saturating_add(i64::try_from(lives_for.as_millis()).unwrap_or(i64::MAX)))
            });
            Ok((TokenRow { created_at: now, scope, hash: hash(&text), expires_at }, text))
        };
        self.inner.directory.add_token(name, make, now, once).await
    }

    /// All tokens, by name.
    pub async fn tokens(&self) -> Result<Vec<TokenView>, Refusal> {
        self.inner.directory.confirm_committed().await?;
        let now = self.inner.clock.wall();
        let tokens = self.inner.directory.tokens()?;
        Ok(tokens.into_iter().map(|(name, row)| Directory::view(name, &row, now)).collect())
    }

    /// Removes a token: the next request that shows it is refused.
    pub async fn revoke_token(&self, name: &TokenName) -> Result<(), TokenError> {
        self.inner.directory.revoke_token(name).await
    }

    /// Takes the token of a data directory's file over as [`FIRST_TOKEN`], unless it did so before. Where the disk has no room for it, when
    /// it has.
    pub async fn hand_over_token(&self, text: &str) -> Result<(), Refusal> {
        self.once_there_is_room(|| self.inner.directory.hand_over(text, self.inner.clock.wall())).await
    }

    /// Is there any token, or was there one? If not, a first one must be made.
    pub fn has_tokens(&self) -> Result<bool, Refusal> {
        self.inner.directory.was_handed_over()
    }
}

fn secret(random: &dyn SecureRandom) -> Result<String, Refusal> {
    let mut bytes = [0; SECRET_BYTES];
    random.fill(&mut bytes).map_err(|_| Refusal::Unavailable {
        message: "the system gave no random numbers".into(),
        retry_after_ms: 1000,
    })?;
    // None of its characters is a dot.
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_names_itself_and_what_does_not_is_the_first_one() {
        let name = |text: &str| claimed(text).map(|name| name.as_str().to_owned());
        assert_eq!(name("twm.ci.secret"), Some("ci".into()));
        assert_eq!(name("twm.ci.of.store-1.secret"), Some("ci.of.store-1".into()));
        assert_eq!(name("anything"), Some("admin".into()));
        assert_eq!(name("twm.a b.secret"), None);
        assert_eq!(name("twm..secret"), None);
    }

    #[test]
    fn a_secret_has_all_its_bits_and_no_dot() {
        let one = secret(&ring::rand::SystemRandom::new()).unwrap();
        assert_eq!(one.len(), 43);
        assert!(one.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
        assert_ne!(one, secret(&ring::rand::SystemRandom::new()).unwrap());
    }

    #[test]
    fn scopes_include_those_below_them() {
        assert!(Scope::Operate > Scope::Steer && Scope::Steer > Scope::Read);
        assert_eq!(Scope::from_text("steer"), Some(Scope::Steer));
        assert_eq!(Scope::from_text("Steer"), None);
    }
}
