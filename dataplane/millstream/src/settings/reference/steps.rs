//! `[[auth.steps]]` in words: the keys of each kind of step, and an example of each. Beside it: [`crate::settings::steps`] parses them, and
//! tests hold both together; after it: [`super::written`].

/// A key of steps.
pub(crate) struct StepRow {
    /// Of which kinds it is; empty: of all.
    pub(crate) kinds: &'static str,
    pub(crate) key: &'static str,
    /// What it may be.
    pub(crate) words: &'static str,
    pub(crate) doc: &'static str,
    pub(crate) default: &'static str,
}

const fn row(
    kinds: &'static str,
    key: &'static str,
    words: &'static str,
    default: &'static str,
    doc: &'static str,
) -> StepRow {
    StepRow { kinds, key, words, doc, default }
}

/// The kinds, and what each does.
pub(crate) const KINDS: [(&str, &str); 6] = [
    ("callback", "Asks an HTTP back end, as nginx-rtmp or SRS does with on_publish and on_play"),
    ("cidr", "Goes by the address: refuses who is in deny, and, where allow names networks, who is in none of them"),
    ("jwt", "Goes by a JSON Web Token in the URL (token or jwt) or in Authorization: Bearer"),
    ("signed", "Goes by the sign parameter that millstream sign and the API make, to publish and to play"),
    ("recorded", "Refuses streams that have no record"),
    ("open", "Admits anyone"),
];

/// Keys of a step.
pub(crate) const STEP_ROWS: &[StepRow] = &[
    row("", "kind", "callback, cidr, jwt, signed, recorded, open", "", "What the step goes by."),
    row("", "point", "publish, play, or a list of both", "", "When it is asked."),
    row("", "name", "name", "its kind and line", "What logs and the API call it."),
    row("", "streams", "list of ids", "all streams", "The streams that it is asked for."),
    row("callback", "url", "URL", "", "The back end. Its answer is bounded, and redirects are not followed."),
    row(
        "callback",
        "form",
        "nginx-rtmp, srs",
        "",
        "What it was written for: a posted form whose answer's status decides, or posted JSON whose answer's body decides.",
    ),
    row(
        "callback",
        "allow_private",
        "list of addresses or networks",
        "none",
        "Addresses that the URL may lead to although they are not public, such as 127.0.0.1.",
    ),
    row(
        "callback",
        "timeout",
        "duration, 100ms to 4s 500ms",
        "\"3s\"",
        "Time for the answer, with the wait for a turn and the connection.",
    ),
    row(
        "callback",
        "cache",
        "duration, 0s to 10m",
        "\"30s\"",
        "How long the verdict about a viewer of HLS or DASH is kept after its last playlist; a refusal: after it was given.",
    ),
    row("callback", "at_once", "number, 1 to 256", "32", "Requests under way to it at once."),
    row(
        "callback",
        "fail",
        "closed, open",
        "\"closed\"",
        "Where it gives no verdict (away, late, nonsense): refuse, or admit.",
    ),
    row("cidr", "allow", "list of addresses or networks", "all", "Who may."),
    row("cidr", "deny", "list of addresses or networks", "none", "Who may not, also where allow has them."),
    row("jwt", "keys", "tables", "", "Keys that tokens may be signed with; see below."),
    row("jwt", "leeway", "duration, 0s to 10m", "\"30s\"", "By how much the clocks of issuer and server may differ."),
    row("jwt", "require_exp", "true or false", "true", "Whether a token must say when it ends (exp)."),
    row("jwt", "issuer", "text", "any", "What iss must say."),
    row("jwt", "audience", "text", "any", "What aud must name."),
    row(
        "jwt",
        "stream_claim",
        "text",
        "\"stream\"",
        "The claim that names the stream: ID, APPLICATION/ID, a list of these, or *. \"\": a token is good for all streams.",
    ),
    row(
        "jwt",
        "action_claim",
        "text",
        "\"action\"",
        "The claim that names the action: publish, play, a list of both, or *. \"\": a token is good for both.",
    ),
    row(
        "jwt, signed",
        "missing",
        "deny, next",
        "\"deny\"",
        "What who brings no token or signature gets: a refusal, or the next step. A wrong one is always refused.",
    ),
    row(
        "callback, cidr, jwt, signed, recorded",
        "pass",
        "allow, next",
        "\"next\" of cidr and recorded, else \"allow\"",
        "What who passes gets: it is admitted, or goes on to the next step.",
    ),
    row(
        "jwt, signed",
        "until_exp",
        "true or false",
        "false",
        "Whether the session ends with the token or signature. With pass = \"allow\" only.",
    ),
];

/// Keys of a `[[auth.steps.keys]]`.
pub(crate) const KEY_ROWS: &[StepRow] = &[
    row(
        "",
        "kid",
        "text",
        "any",
        "Its id, as tokens name it in their head; a key without one is tried with all tokens of its algorithm.",
    ),
    row("", "secret", "secret, 16 bytes or more", "", "Of HS256: the shared secret."),
    row("", "secret_file", "path", "", "The file with it."),
    row("", "public_key", "PEM", "", "Of RS256 or ES256: the public key, which begins with BEGIN PUBLIC KEY."),
    row("", "public_key_file", "path", "", "The file with it."),
];

/// An example of each kind, as lines of TOML.
pub(crate) const EXAMPLES: [(&str, &[&str]); 6] = [
    (
        "callback",
        &[
            "kind = \"callback\"",
            "point = [\"publish\", \"play\"]",
            "allow_private = [\"127.0.0.1\"]",
            "url = \"http://127.0.0.1:8000/auth\"",
            "form = \"nginx-rtmp\"",
            "timeout = \"3s\"",
            "cache = \"30s\"",
            "at_once = 32",
            "fail = \"closed\"",
            "pass = \"allow\"",
        ],
    ),
    (
        "cidr",
        &[
            "kind = \"cidr\"",
            "point = \"publish\"",
            "allow = [\"10.0.0.0/8\", \"2001:db8::/32\"]",
            "deny = [\"10.9.0.0/16\"]",
            "pass = \"next\"",
        ],
    ),
    (
        "jwt",
        &[
            "kind = \"jwt\"",
            "point = [\"publish\", \"play\"]",
            "keys = [{ kid = \"2026\", secret = \"...\" }]",
            "leeway = \"30s\"",
            "require_exp = true",
            "issuer = \"\"",
            "audience = \"\"",
            "stream_claim = \"stream\"",
            "action_claim = \"action\"",
            "missing = \"deny\"",
            "pass = \"allow\"",
            "until_exp = false",
        ],
    ),
    (
        "signed",
        &["kind = \"signed\"", "point = \"play\"", "missing = \"deny\"", "pass = \"allow\"", "until_exp = false"],
    ),
    ("recorded", &["kind = \"recorded\"", "point = \"publish\"", "pass = \"next\""]),
    ("open", &["kind = \"open\"", "point = \"play\"", "streams = [\"lobby\"]"]),
];
