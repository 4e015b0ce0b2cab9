//! What is said at the beginning: what runs here, and what to try.

use std::fmt::Write as _;
use std::path::Path;

use super::picture::{Paint, grouped};
use super::setup::SITE;

/// What the intro tells of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Intro<'a> {
    pub(crate) http_url: &'a str,
    pub(crate) quic: std::net::SocketAddr,
    pub(crate) data_dir: &'a Path,
    pub(crate) temporary: bool,
    pub(crate) gateways: usize,
    pub(crate) devices: usize,
    /// The usual port was taken.
    pub(crate) other_port: bool,
    /// Plain HTTP is for loopback only; over TLS curl must know the CA.
    pub(crate) tls: bool,
}

impl Intro<'_> {
    /// The text, with commands to paste.
    pub(crate) fn text(&self, paint: Paint) -> String {
        let Self { http_url, quic, data_dir, .. } = self;
        let mut out = String::new();
        let title = format!("a store with {} gateways and {} devices", self.gateways, grouped(self.devices as u64));
        let _ = writeln!(out, "\n  {} · {title}, each device with a durable twin\n", paint.bold("Twinmesh"));
        let port = if self.other_port { "  (8080 is taken)" } else { "" };
        let kept = if self.temporary { "removed at the end" } else { "kept" };
        let token = shell_word(&data_dir.join("admin.token").display().to_string());
        let _ = writeln!(out, "  REST      {}{port}    try it in a browser: {http_url}/docs", paint.bold(http_url));
        let _ = writeln!(out, "  QUIC      {quic}    where the gateways are connected");
        let _ = writeln!(out, "  data      {}    {kept}; the admin token is in admin.token", data_dir.display());
        let ca = shell_word(&data_dir.join("ca.pem").display().to_string());
        let ca = if self.tls { format!(" --cacert {ca}") } else { String::new() };
        let _ = writeln!(out, "\n  Paste into another terminal. First the token and the address:\n");
        let _ = writeln!(out, "    auth=\"Authorization: Bearer $(cat {token})\" api={http_url}/api/v1");
        let json = "-H 'content-type: application/json'";
        for (what, command) in [
            (
                "a twin: what the device reported, what is desired, and whether it is applied",
                "$api/twins/label-0001".to_owned(),
            ),
            (
                "a new price: it goes to the label and comes back as applied in a second",
                format!("-X PATCH {json} -d '{{\"price\": 9.99}}' $api/twins/label-0001/desired"),
            ),
            (
                "a price that the label rejects, with its reason",
                format!("-X PATCH {json} -d '{{\"price\": -1}}' $api/twins/label-0002/desired"),
            ),
            ("all that happens in the store", format!("-N \"$api/events?site={SITE}\"")),
            ("a label that blinks", format!("-X POST {json} -d '{{}}' $api/twins/label-0001/methods/blink")),
        ] {
            let _ = writeln!(out, "    {}", paint.dim(&format!("# {what}")));
            let _ = writeln!(out, "    curl -s{ca} -H \"$auth\" {command}");
        }
        let _ = writeln!(out, "\n  Ctrl-C stops it.\n");
        out
    }
}

/// Quoted for a shell inside `$(...)` inside double quotes, if it must be.
fn shell_word(text: &str) -> String {
    if text.chars().all(|c| c.is_ascii_alphanumeric() || "/._-+=:@%".contains(c)) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_name_token_file_and_address() {
        let intro = Intro {
            http_url: "http://127.0.0.1:8080",
            quic: ([127, 0, 0, 1], 7443).into(),
            data_dir: Path::new("/tmp/a demo"),
            temporary: true,
            gateways: 10,
            devices: 1000,
            other_port: false,
            tls: false,
        };
        let text = intro.text(Paint(false));
        assert!(text.contains(
            "auth=\"Authorization: Bearer $(cat '/tmp/a demo/admin.token')\" api=http://127.0.0.1:8080/api/v1"
        ));
        for part in ["$api/twins/label-0001", "-X PATCH", "/events?site=demo", "1,000 devices", "removed at the end"] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
    }
}
