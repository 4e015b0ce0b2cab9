//! `twinctl token`: who may ask what.

use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use ureq::http::Method;

use super::credentials_file::CredentialsFile;
use crate::api_path::ApiPath;
use crate::cli::{Scope, Token};
use crate::client::{Ask, Client};
use crate::failure::Failure;
use crate::output::{self, Output};
use crate::table::Table;

#[derive(Deserialize)]
struct NewToken {
    token: String,
}

/// All tokens, each as it was sent.
#[derive(Deserialize)]
struct Tokens {
    tokens: Vec<Box<RawValue>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TokenView {
    name: String,
    scope: String,
    created_at: Option<String>,
    expires_at: Option<String>,
    expired: bool,
}

/// Carries out `twinctl token ...`.
pub(crate) fn run(client: &Client, output: Output, command: Token) -> Result<(), Failure> {
    match command {
        Token::Add { name, scope, expires_in, out } => {
            let file = CredentialsFile::create(&out)?;
            let scope = match scope {
                Scope::Read => "read",
                Scope::Steer => "steer",
                Scope::Operate => "operate",
            };
            let body = json!({ "name": name, "scope": scope, "expiresInSeconds": expires_in });
            let answer = client.ask(Ask::new(Method::POST, ApiPath::new("tokens")).json(body.to_string()))?;
            // The answer holds a secret: it goes to the file, and into no message.
            let Some(made) = serde_json::from_str::<NewToken>(&answer.body).ok().filter(|made| !made.token.is_empty())
            else {
                return Err(answer.not_understood(format!("it holds no token; revoke {name} and try again")));
            };
            file.keep(&format!("{}\n", made.token)).map_err(|error| {
                Failure::Usage(format!(
                    "can't write {}: {error}; the token is lost: revoke {name} and add it again",
                    out.display()
                ))
            })?;
            if output.json {
                output::line(&json!({ "name": name, "scope": scope, "file": out.display().to_string() }).to_string())
            } else {
                output::line(&format!("token {name}: scope {scope}, in {}", out.display()))
            }
        }
        Token::List => {
            let answer = client.get(ApiPath::new("tokens"))?;
            let list: Tokens = answer.read()?;
            if output.json {
                return list.tokens.iter().try_for_each(|token| output::line(token.get()));
            }
            let mut table = Table::new(&["TOKEN", "SCOPE", "MADE", "ENDS"]);
            for token in &list.tokens {
                let token: TokenView =
                    serde_json::from_str(token.get()).map_err(|error| answer.not_understood(error.to_string()))?;
                let ends = token.expires_at.unwrap_or_else(|| "never".to_owned());
                table.row([
                    token.name,
                    token.scope,
                    token.created_at.unwrap_or_else(|| "-".to_owned()),
                    if token.expired { format!("{ends} (over)") } else { ends },
                ]);
            }
            output::text(&table.render())
        }
        Token::Revoke { name } => {
            client.ask(Ask::new(Method::DELETE, ApiPath::new("tokens").segment(&name)?))?;
            if output.json { Ok(()) } else { output::line(&format!("token {name}: revoked")) }
        }
    }
}
