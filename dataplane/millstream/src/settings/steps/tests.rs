//! What `[[auth.steps]]` may say, and what is said about wrong ones.
use super::super::parse;
use super::*;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn read(text: &str) -> Vec<StepEntry> {
    parse(Path::new("m.toml"), text.as_bytes()).unwrap_or_else(|error| panic!("{error}\n{text}")).steps
}

/// A step of this kind with these lines is refused, with these lines of errors.
#[track_caller]
fn refused(step: &str, expected: &[&str]) {
    let text = format!("[[auth.steps]]\n{step}\n");
    let error = parse(Path::new("m.toml"), text.as_bytes()).unwrap_err().to_string();
    assert!(!error.contains(SECRET), "{error}");
    let lines: Vec<_> = error.lines().collect();
    assert_eq!(lines.len(), expected.len(), "{error}");
    for (line, expected) in lines.iter().zip(expected) {
        assert!(line.starts_with(&format!("m.toml:{expected}")), "{line:?} is not {expected:?}");
    }
}

#[test]
fn each_kind_with_its_keys_and_defaults() {
    let text = format!(
        "[auth]\npreset = \"signed\"\n\
         [[auth.steps]]\nkind = \"cidr\"\npoint = \"publish\"\nallow = [\"10.0.0.0/8\"]\n\
         [[auth.steps]]\nname = \"who\"\nkind = \"jwt\"\npoint = [\"publish\", \"play\"]\nstreams = [\"lobby\"]\n\
         keys = [{{ kid = \"a\", secret = \"{SECRET}\" }}]\n\
         [[auth.steps]]\nkind = \"signed\"\npoint = \"play\"\nuntil_exp = true\nmissing = \"next\"\n\
         [[auth.steps]]\nkind = \"recorded\"\npoint = \"play\"\n\
         [[auth.steps]]\nkind = \"open\"\npoint = \"play\"\n"
    );
    let steps = read(&text);
    let words: Vec<_> = steps.iter().map(|step| (step.kind.word(), step.publish, step.play)).collect();
    let expected = [
        ("cidr", true, false),
        ("jwt", true, true),
        ("signed", false, true),
        ("recorded", false, true),
        ("open", false, true),
    ];
    assert_eq!(words, expected);
    let names: Vec<_> = steps.iter().map(|step| step.name.as_str()).collect();
    assert_eq!(names, ["cidr-3", "who", "signed-13", "recorded-18", "open-21"]);
    let jwt = Value::Object(steps[1].shown.clone());
    assert_eq!(jwt["keys"], json!([{ "kid": "a", "algorithm": "HS256" }]));
    assert_eq!((&jwt["leeway"], &jwt["missing"], &jwt["pass"]), (&json!("30s"), &json!("deny"), &json!("allow")));
    assert_eq!((&steps[0].shown["pass"], &steps[2].shown["until_exp"]), (&json!("next"), &json!(true)));
    assert!(!format!("{steps:?}").contains(SECRET));
}

#[test]
fn mistakes_have_line_and_column() {
    refused("point = \"play\"", &["1:1: auth.steps.kind: missing; give every [[auth.steps]] a kind: "]);
    refused(
        "kind = \"sined\"\npoint = \"play\"",
        &["2:8: auth.steps.kind: \"sined\" is none of the choices (did you mean \"signed\"?)"],
    );
    refused("kind = \"open\"", &["1:1: auth.steps.point: missing"]);
    refused(
        "kind = \"open\"\npoint = [\"watch\"]",
        &["3:9: auth.steps.point: item 1: \"watch\" is none of the choices"],
    );
    refused("kind = \"open\"\npoint = []", &["3:9: auth.steps.point: the list is empty"]);
    refused("kind = \"open\"\npoint = \"play\"\nstreams = [\"a b\"]", &["4:11: auth.steps.streams: item 1: "]);
    refused("kind = \"open\"\npoint = \"play\"\nstreams = []", &["4:11: auth.steps.streams: the list is empty"]);
    // A key of another kind.
    refused("kind = \"open\"\npoint = \"play\"\ndeny = [\"::1\"]", &["4:1: auth.steps.deny: unknown key"]);
    refused("kind = \"cidr\"\npoint = \"play\"", &["1:1: auth.steps.allow: missing"]);
    refused("kind = \"cidr\"\npoint = \"play\"\nallow = [\"10.0.0.1/8\"]", &["4:9: auth.steps.allow: item 1: "]);
    refused(
        "kind = \"signed\"\npoint = \"play\"\npass = \"next\"\nuntil_exp = true",
        &["5:13: auth.steps.until_exp: a later step admits where pass = \"next\""],
    );
    refused("kind = \"jwt\"\npoint = \"play\"", &["1:1: auth.steps.keys: missing; give [[auth.steps.keys]]"]);
    refused(
        &format!("kind = \"jwt\"\npoint = \"play\"\nleeway = 5\nkeys = [{{ secret = \"{SECRET}\" }}]"),
        &["4:10: auth.steps.leeway: this is a whole number"],
    );
    let key = |key: &str| format!("kind = \"jwt\"\npoint = \"play\"\n[[auth.steps.keys]]\n{key}");
    refused(&key("kid = \"a\""), &["4:1: auth.steps.keys.secret: a key has exactly one of"]);
    refused(
        &key(&format!("secret = \"{SECRET}\"\nsecret_file = \"/dev/null\"")),
        &[
            "4:1: auth.steps.keys.secret: a key has exactly one of",
            "6:15: auth.steps.keys.secret_file: the secret has 0 bytes",
        ],
    );
    refused(&key("secret = \"short\""), &["5:10: auth.steps.keys.secret: the secret has 5 bytes; give at least 16"]);
    refused(&key("public_key_file = \"/none\""), &["5:19: auth.steps.keys.public_key_file: /none: No such file"]);
    refused(&key("public_key = \"MIIB\""), &["5:14: auth.steps.keys.public_key: this is not a public key in PEM"]);
    refused(
        &key(&format!("secrets = \"{SECRET}\"")),
        &["4:1: ", "5:1: auth.steps.keys.secrets: unknown key (did you mean secret?)"],
    );
    refused(
        "kind = \"open\"\npoint = \"play\"\nname = \"a\"\n[[auth.steps]]\nkind = \"open\"\npoint = \"play\"\nname = \"a\"",
        &["5:1: auth.steps.name: another step is called"],
    );
    let callback = |lines: &str| format!("kind = \"callback\"\npoint = \"play\"\n{lines}");
    refused(&callback("form = \"srs\""), &["1:1: auth.steps.url: missing"]);
    refused(&callback("url = \"https://example.com/a\""), &["1:1: auth.steps.form: missing"]);
    for private in ["http://127.0.0.1/a", "http://localhost:80/a", "http://[::1]/a", "http://10.0.0.1/a"] {
        refused(&callback(&format!("form = \"srs\"\nurl = \"{private}\"")), &["5:7: auth.steps.url: "]);
    }
    refused(
        &callback("form = \"srs\"\nurl = \"https://me:hush@example.com/\"\ntimeout = \"5s\""),
        &[
            "5:7: auth.steps.url: the URL holds a name or a password",
            "6:11: auth.steps.timeout: \"5s\" is out of range",
        ],
    );
    let many =
        "kind = \"open\"\npoint = \"play\"\n[[auth.steps]]\n".repeat(STEPS_MAX) + "kind = \"open\"\npoint = \"play\"";
    refused(&many, &["97:1: auth.steps.kind: there are more than 32 steps"]);
    let error = parse(Path::new("m.toml"), b"[auth]\nsteps = 1\n").unwrap_err().to_string();
    assert!(error.contains("2:9: auth.steps: this is a list of tables; write [[auth.steps]]"), "{error}");
}

/// A changed secret is a change, though it is shown as the same.
#[test]
fn what_has_changed_is_told_also_of_secrets_and_files() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("secret");
    let of = |secret: &str| {
        read(&format!("[[auth.steps]]\nkind = \"jwt\"\npoint = \"play\"\nkeys = [{{ secret = \"{secret}\" }}]\n"))
    };
    assert_eq!(of(SECRET), of(SECRET));
    assert_ne!(of(SECRET), of("another secret of some length"));
    let of_file = || {
        let path = file.display();
        read(&format!("[[auth.steps]]\nkind = \"jwt\"\npoint = \"play\"\nkeys = [{{ secret_file = \"{path}\" }}]\n"))
    };
    std::fs::write(&file, SECRET).unwrap();
    let before = of_file();
    assert_eq!(before, of_file());
    std::fs::write(&file, "another secret of some length").unwrap();
    assert_ne!(before, of_file());
}
