//! Where credentials are found when none are given: each place that the SDK looks at in this build is tried in a process of its own.
use std::process::Command;

use crate::support::{BUCKET, Bench};
use millstream_objects::{Location, ObjectStore as _, S3Options, S3Store};
use millstream_test_support::s3::proxy::{Fault, FaultProxy, Reply};
use millstream_test_support::s3::{ACCESS_KEY_ID, SECRET_ACCESS_KEY};

const CHILD: &str = "MILLSTREAM_TEST_OBJECTS_LOCATION";

/// Runs in a process with another environment; does nothing in a usual run.
#[tokio::test(flavor = "multi_thread")]
async fn in_a_child_a_store_is_probed() {
    let Ok(location) = std::env::var(CHILD) else { return };
    let Ok(Location::S3(location)) = location.parse() else { panic!("{location}") };
    let store = S3Store::open(location, S3Options::default()).await.expect("a store");
    match store.probe().await {
        Ok(probe) => println!("found {:?}", probe.warnings),
        Err(error) => println!("{}: {:?} {error}", error.kind(), error.retry()),
    }
}

fn probe(bench: &Bench, environment: &[(&str, &str)]) -> String {
    let output = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "credentials::in_a_child_a_store_is_probed", "--nocapture", "--test-threads", "1"])
        .env_clear()
        .env(CHILD, format!("s3://{BUCKET}/x?endpoint={}", bench.server.endpoint()))
        .env("HOME", bench.dir.path())
        .envs(environment.iter().copied())
        .output()
        .expect("a child");
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Answers a request by its path.
fn service(answers: Vec<(&'static str, Reply)>) -> FaultProxy {
    let nobody = ([127, 0, 0, 1], 1).into();
    let proxy = FaultProxy::start(nobody).expect("a service");
    proxy.script(move |request| {
        let answer = answers.iter().find(|(path, _)| request.path == *path);
        Some(Fault::Reply(answer.map_or_else(|| Reply::new(404, ""), |(_, reply)| reply.clone())))
    });
    proxy
}

fn json_credentials() -> String {
    format!(
        "{{\"Code\":\"Success\",\"Type\":\"AWS-HMAC\",\"LastUpdated\":\"2026-01-01T00:00:00Z\",\"AccessKeyId\":\"{ACCESS_KEY_ID}\",\
         \"SecretAccessKey\":\"{SECRET_ACCESS_KEY}\",\"Token\":\"a-token\",\"Expiration\":\"2099-01-01T00:00:00Z\"}}"
    )
}

#[tokio::test]
async fn the_environment_and_profiles_are_looked_at() {
    let bench = Bench::new();
    let said = probe(&bench, &[("AWS_ACCESS_KEY_ID", ACCESS_KEY_ID), ("AWS_SECRET_ACCESS_KEY", SECRET_ACCESS_KEY)]);
    assert!(said.contains("found []"), "{said}");
    let (config, credentials) = (bench.dir.path().join("config"), bench.dir.path().join("credentials"));
    std::fs::write(&config, "[profile rec]\nregion = eu-west-3\n").expect("written");
    let lines = format!("[rec]\naws_access_key_id = {ACCESS_KEY_ID}\naws_secret_access_key = {SECRET_ACCESS_KEY}\n");
    std::fs::write(&credentials, lines).expect("written");
    let said = probe(
        &bench,
        &[
            ("AWS_CONFIG_FILE", config.to_str().expect("a path")),
            ("AWS_SHARED_CREDENTIALS_FILE", credentials.to_str().expect("a path")),
            ("AWS_PROFILE", "rec"),
        ],
    );
    assert!(said.contains("found []"), "{said}");
}

#[tokio::test]
async fn the_roles_of_a_container_and_of_a_machine_are_looked_at() {
    let bench = Bench::new();
    let container = service(vec![("/role", Reply::new(200, json_credentials()))]);
    let uri = format!("{}/role", container.endpoint());
    let said = probe(&bench, &[("AWS_CONTAINER_CREDENTIALS_FULL_URI", &uri)]);
    assert!(said.contains("found []"), "{said}");
    let token = Reply::new(200, "a-token").with_header("x-aws-ec2-metadata-token-ttl-seconds", "21600");
    let role = "/latest/meta-data/iam/security-credentials/";
    let machine = service(vec![
        ("/latest/api/token", token),
        ("/latest/meta-data/placement/region", Reply::new(200, "eu-west-3")),
        (role, Reply::new(200, "the-role")),
        ("/latest/meta-data/iam/security-credentials/the-role", Reply::new(200, json_credentials())),
    ]);
    let said = probe(&bench, &[("AWS_EC2_METADATA_SERVICE_ENDPOINT", &machine.endpoint())]);
    assert!(said.contains("found []"), "{said}, {:?}", machine.requests());
}

#[tokio::test]
async fn a_web_identity_is_looked_at() {
    let bench = Bench::new();
    let token = bench.dir.path().join("token");
    std::fs::write(&token, "a-web-identity").expect("written");
    let answer = format!(
        "<AssumeRoleWithWebIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleWithWebIdentityResult>\
         <Credentials><AccessKeyId>{ACCESS_KEY_ID}</AccessKeyId><SecretAccessKey>{SECRET_ACCESS_KEY}</SecretAccessKey>\
         <SessionToken>a-token</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials>\
         <AssumedRoleUser><AssumedRoleId>a:b</AssumedRoleId><Arn>arn:aws:sts::1:assumed-role/r/s</Arn></AssumedRoleUser>\
         </AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"
    );
    let sts = service(vec![("/", Reply::new(200, answer))]);
    let said = probe(
        &bench,
        &[
            ("AWS_WEB_IDENTITY_TOKEN_FILE", token.to_str().expect("a path")),
            ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/rec"),
            ("AWS_REGION", "eu-west-3"),
            ("AWS_ENDPOINT_URL_STS", &sts.endpoint()),
        ],
    );
    assert!(said.contains("found []"), "{said}, {:?}", sts.requests());
}

#[tokio::test]
async fn no_credentials_at_all_are_told_as_such() {
    let bench = Bench::new();
    let said = probe(&bench, &[("AWS_EC2_METADATA_DISABLED", "true")]);
    assert!(said.contains("credentials: AfterRepair") && said.contains("there are no credentials"), "{said}");
    assert!(said.contains("AWS_ACCESS_KEY_ID") && said.contains("AWS_PROFILE"), "{said}");
}
