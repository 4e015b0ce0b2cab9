//! `ops/deploy/compose.yml` says what the Dockerfile beside it and this program's options say. It is YAML of the plainest kind, and this
//! reads no more than that kind: what it does not understand is a mistake.

use std::path::Path;

use crate::process::twind;

const COMPOSE: &str = include_str!("../../../deploy/compose.yml");
const DOCKERFILE: &str = include_str!("../../../deploy/Dockerfile");

/// What a path of keys holds: scalars, one for each item of a list.
#[derive(Debug, Default)]
struct Plain(Vec<(String, String)>);

impl Plain {
    fn read(text: &str) -> Self {
        let mut found = Vec::new();
        let mut above: Vec<(usize, &str)> = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let at = format!("line {}: {line}", number + 1);
            let said = line.trim_start();
            if said.is_empty() || said.starts_with('#') {
                continue;
            }
            let depth = line.len() - said.len();
            assert!(depth.is_multiple_of(2) && !said.contains(['\t', '{', '&', '*', '|', '>']), "{at}");
            above.retain(|(of, _)| *of < depth);
            let path = || above.iter().map(|(_, key)| *key).collect::<Vec<_>>().join("/");
            if let Some(item) = said.strip_prefix("- ") {
                found.push((path(), unquoted(item)));
                continue;
            }
            let (key, value) = said.split_once(':').unwrap_or_else(|| panic!("{at}"));
            assert!(value.is_empty() || value.starts_with(' '), "{at}");
            above.push((depth, key));
            let path = above.iter().map(|(_, key)| *key).collect::<Vec<_>>().join("/");
            assert!(!found.iter().any(|(known, _)| *known == path), "{at}: said twice");
            let value = value.trim();
            match value.strip_prefix('[').and_then(|list| list.strip_suffix(']')) {
                Some(list) => found.extend(list.split(',').map(|item| (path.clone(), unquoted(item.trim())))),
                None => found.push((path, unquoted(value))),
            }
        }
        Self(found)
    }

    /// The scalars there, without those that only hold others.
    fn at(&self, path: &str) -> Vec<&str> {
        self.0.iter().filter(|(at, value)| at == path && !value.is_empty()).map(|(_, value)| value.as_str()).collect()
    }

    fn one(&self, path: &str) -> &str {
        match self.at(path)[..] {
            [value] => value,
            ref values => panic!("{path} is {values:?}"),
        }
    }
}

fn unquoted(text: &str) -> String {
    text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text).to_owned()
}

/// What follows each such instruction of the Dockerfile's last stage, with its continued lines.
fn instructions(name: &str) -> Vec<String> {
    let whole = DOCKERFILE.replace("\\\n", " ");
    let last = whole.rsplit_once("\nFROM ").unwrap().1.to_owned();
    last.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).map(str::to_owned).collect()
}

fn instruction(name: &str) -> Vec<String> {
    let [said] = &instructions(name)[..] else { panic!("{name} is there {:?}", instructions(name)) };
    said.split_whitespace().map(str::to_owned).collect()
}

fn variable(name: &str) -> String {
    let said = instruction("ENV");
    let value = said.iter().find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    value.unwrap_or_else(|| panic!("no {name} in {said:?}")).to_owned()
}

fn port(address: &str) -> &str {
    address.rsplit_once(':').unwrap().1
}

#[test]
fn compose_has_the_dockerfiles_paths_ports_and_volume() {
    let compose = Plain::read(COMPOSE);
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy");
    let context = deploy.join(compose.one("services/node/build/context"));
    assert!(context.join("Cargo.lock").is_file(), "{} is the repository", context.display());
    let dockerfile = context.join(compose.one("services/node/build/dockerfile"));
    assert_eq!(std::fs::read_to_string(&dockerfile).unwrap(), DOCKERFILE);
    // `host:inside`, of tcp unless said otherwise; the image exposes each, and no other.
    let published: Vec<String> = compose
        .at("services/node/ports")
        .iter()
        .map(|published| {
            let inside = published.split_once(':').unwrap().1;
            if inside.contains('/') { inside.to_owned() } else { format!("{inside}/tcp") }
        })
        .collect();
    assert_eq!(published, instruction("EXPOSE"));
    // The node listens there, on all addresses of its container.
    let (http, quic) = (variable("TWIND_HTTP"), variable("TWIND_QUIC"));
    assert_eq!(published, [format!("{}/tcp", port(&http)), format!("{}/udp", port(&quic))]);
    assert!(http.starts_with("0.0.0.0:") && quic.starts_with("0.0.0.0:"), "{http} {quic}");
    // It writes to a volume that is declared, and to nothing else.
    let (volume, inside) = compose.one("services/node/volumes").split_once(':').unwrap();
    assert_eq!([inside.to_owned()], instruction("VOLUME")[..]);
    assert_eq!(inside, variable("TWIND_DATA_DIR"));
    assert!(compose.0.iter().any(|(path, _)| *path == format!("volumes/{volume}")), "{volume} is declared");
    assert_eq!(compose.one("services/node/read_only"), "true");
    assert_eq!(compose.at("services/node/cap_drop"), ["ALL"]);
    assert_eq!(compose.at("services/node/security_opt"), ["no-new-privileges:true"]);
    // What twinctl is told there is where the node puts it.
    assert_eq!(variable("TWINMESH_URL"), format!("https://127.0.0.1:{}", port(&http)));
    assert_eq!(variable("TWINMESH_TOKEN_FILE"), format!("{inside}/admin.token"));
    assert_eq!(variable("TWINMESH_CA"), format!("{inside}/ca.pem"));
    // What is stopped has its time: the node gives itself 30 seconds.
    let grace: u32 = compose.one("services/node/stop_grace_period").strip_suffix('s').unwrap().parse().unwrap();
    assert!(grace > 30, "{grace}");
}

#[test]
fn the_image_starts_this_program_with_options_that_it_has() {
    let json = |name: &str| -> Vec<String> { serde_json::from_str(&instructions(name)[0]).unwrap() };
    assert_eq!(json("ENTRYPOINT"), ["/usr/bin/twind"]);
    let command = json("CMD");
    let help = twind(&[&command[0], "--help"]).output().unwrap();
    assert!(help.status.success(), "{command:?}");
    let help = String::from_utf8(help.stdout).unwrap();
    for word in command[1..].iter().filter(|word| word.starts_with("--")) {
        assert!(help.contains(&format!("{word} ")), "{word} is no option of twind {}:\n{help}", command[0]);
    }
    for name in ["TWIND_DATA_DIR", "TWIND_HTTP", "TWIND_QUIC"] {
        variable(name);
        assert!(help.contains(&format!("[env: {name}=")), "{name} is no variable of twind {}:\n{help}", command[0]);
    }
    // Values as well: with an option of which there is none it says so before all else.
    let args: Vec<&str> = command.iter().map(String::as_str).collect();
    let refused = twind(&[&args[..], &["--no-such-option"]].concat()).output().unwrap();
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("--no-such-option") && !said.contains("invalid value"), "{said}");
}

#[test]
fn what_compose_says_in_another_way_is_a_mistake() {
    for wrong in ["a:\n  b: &anchor\n", "a: {b: 1}\n", "a\n", "a: 1\na: 2\n", "a:\n   b: 1\n"] {
        assert!(std::panic::catch_unwind(|| Plain::read(wrong)).is_err(), "{wrong}");
    }
    let plain = Plain::read("a:\n  b: [x, y]\n  c:\n    - \"1:2\"\n  d:\ne: z\n");
    assert_eq!((plain.at("a/b"), plain.one("a/c"), plain.one("e")), (vec!["x", "y"], "1:2", "z"));
}
