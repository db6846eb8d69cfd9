//! Greetings of two ends over a pipe: those who know each other, those who do not, and who changes what is said.
use tokio::io::duplex;

use super::*;

const NOW: u64 = 1_800_000_000;

fn key() -> WorkerKey {
    WorkerKey::new(&Secret::new("the nodes' token"))
}

fn hello(node: &str, expires_unix_s: u64) -> Hello {
    Hello {
        release: RELEASE.to_owned(),
        worker: "gpu".to_owned(),
        run: 7,
        node: node.to_owned(),
        expires_unix_s,
        reached: "::ffff:192.0.2.7".to_owned(),
        ..Hello::default()
    }
}

/// The ticket of the hello above.
fn ticket() -> Secret {
    key().ticket("edge-1", ("gpu", 7), NOW + 60)
}

/// What the node comes to, which accepts with these ports.
async fn node(mut line: impl Line, ports: Vec<u16>) -> Result<IpAddr, GreetingError> {
    match welcome(&mut line, ("edge-1", &key()), NOW).await {
        Ok(mut welcomed) => {
            welcomed.accept(&mut line, true, ports).await?;
            Ok(welcomed.reached)
        }
        Err(why) => {
            refuse(&mut line, &why).await;
            Err(why)
        }
    }
}

/// Both halves over a pipe: what the worker and the node come to.
async fn greet(hello: Hello, ticket: Secret) -> (Result<Accepted, GreetingError>, Result<IpAddr, GreetingError>) {
    let (mut ours, theirs) = duplex(1 << 10);
    let node = node(theirs, vec![80, 1935]);
    // What is refused hangs up.
    let worker = async move { introduce(&mut ours, hello, &ticket).await };
    tokio::join!(worker, node)
}

#[tokio::test]
async fn who_have_the_same_ticket_are_of_one_mind() {
    let (worker, node) = greet(hello("edge-1", NOW + 60), ticket()).await;
    let accepted = Accepted { hooks: true, ports: vec![80, 1935], release: RELEASE.to_owned() };
    assert_eq!((worker.unwrap(), node.unwrap().to_string()), (accepted, "192.0.2.7".to_owned()));
}

#[tokio::test]
async fn who_has_not_is_told_what_to_look_at() {
    let right = |expires| key().ticket("edge-1", ("gpu", 7), expires);
    let wrong = WorkerKey::new(&Secret::new("another token")).ticket("edge-1", ("gpu", 7), NOW + 60);
    let cases = [
        (hello("edge-1", NOW + 60), wrong, "the node has not proved itself"),
        (hello("edge-1", NOW + 61), right(NOW + 60), "the node has not proved itself"),
        (hello("edge-1", NOW - 1), right(NOW - 1), "look at the clocks"),
        (hello("edge-1", NOW + 100_000), right(NOW + 100_000), "look at the clocks"),
        (hello("edge-2", NOW + 60), key().ticket("edge-2", ("gpu", 7), NOW + 60), "wants the node \"edge-2\""),
        (Hello { run: 8, ..hello("edge-1", NOW + 60) }, right(NOW + 60), "the node has not proved itself"),
        (Hello { worker: "a\nb".to_owned(), ..hello("edge-1", NOW + 60) }, right(NOW + 60), "is none"),
        (Hello { reached: "edge-1".to_owned(), ..hello("edge-1", NOW + 60) }, right(NOW + 60), "is none"),
    ];
    for (hello, ticket, said) in cases {
        let (worker, node) = greet(hello, ticket).await;
        let told = worker.unwrap_err().to_string();
        assert!(told.contains(said), "{said}: {told}");
        assert!(node.is_err());
    }
}

/// A copy of what crosses both ways, with greetings changed: what the worker and the node come to.
async fn greet_through(
    change: impl Fn(Greeting) -> Greeting,
) -> (Result<Accepted, GreetingError>, Result<IpAddr, GreetingError>) {
    let ((mut ours, mut near), (mut far, theirs)) = (duplex(1 << 10), duplex(1 << 10));
    let worker = async move { introduce(&mut ours, hello("edge-1", NOW + 60), &ticket()).await };
    let between = async move {
        // Hello, Welcome, Proof, Accepted, Proof.
        for is_of_worker in [true, false, true, false, false] {
            let (from, to) = if is_of_worker { (&mut near, &mut far) } else { (&mut far, &mut near) };
            let Ok(heard) = hear(from, &mut Vec::new()).await else { return };
            if say(to, &change(heard), &mut Vec::new()).await.is_err() {
                return;
            }
        }
    };
    let (worker, node, ()) = tokio::join!(worker, node(theirs, vec![80, 1935]), between);
    (worker, node)
}

#[tokio::test]
async fn what_is_changed_on_the_way_is_found() {
    let (worker, node) = greet_through(|greeting| greeting).await;
    assert!(worker.is_ok_and(|accepted| accepted.hooks) && node.is_ok());
    let with_hooks = |greeting| match greeting {
        Greeting::Accepted { ports, .. } => Greeting::Accepted { hooks: false, ports },
        other => other,
    };
    let with_port = |greeting| match greeting {
        Greeting::Accepted { hooks, .. } => Greeting::Accepted { hooks, ports: vec![22] },
        other => other,
    };
    let with_address = |greeting| match greeting {
        Greeting::Hello(hello) => Greeting::Hello(Hello { reached: "127.0.0.1".to_owned(), ..hello }),
        other => other,
    };
    let with_release = |greeting| match greeting {
        Greeting::Welcome { protocol, nonce, proof, .. } => {
            Greeting::Welcome { protocol, release: "0.0.0".to_owned(), nonce, proof }
        }
        other => other,
    };
    let changes: [&dyn Fn(Greeting) -> Greeting; 4] = [&with_hooks, &with_port, &with_address, &with_release];
    for (at, change) in changes.into_iter().enumerate() {
        let (worker, _) = greet_through(change).await;
        assert!(worker.is_err(), "{at}: {worker:?}");
    }
}

#[tokio::test]
async fn a_node_that_names_no_ports_gets_no_worker() {
    for ports in [vec![], vec![80, 0], vec![80, 1935, 22]] {
        let (mut ours, theirs) = duplex(1 << 10);
        let worker = async move { introduce(&mut ours, hello("edge-1", NOW + 60), &ticket()).await };
        let (worker, _) = tokio::join!(worker, node(theirs, ports.clone()));
        assert!(matches!(worker, Err(GreetingError::Ports)), "{ports:?}");
    }
}

#[tokio::test]
async fn a_worker_that_proves_nothing_is_not_taken() {
    let said = async |answer: Greeting| {
        let (mut ours, mut theirs) = duplex(1 << 10);
        let worker = async move {
            let hello = Hello { protocol: PROTOCOL, ..hello("edge-1", NOW + 60) };
            let mut said = Vec::new();
            say(&mut ours, &Greeting::Hello(hello), &mut said).await.unwrap();
            hear(&mut ours, &mut said).await.unwrap();
            say(&mut ours, &answer, &mut said).await.unwrap();
            ours
        };
        let node = key();
        let (_open, welcomed) = tokio::join!(worker, welcome(&mut theirs, ("edge-1", &node), NOW));
        welcomed.err().unwrap().to_string()
    };
    assert!(said(Greeting::Proof { proof: String::new() }).await.contains("the worker has not proved itself"));
    assert!(said(Greeting::Accepted { hooks: true, ports: Vec::new() }).await.contains("not in its turn"));
}

#[tokio::test]
async fn other_versions_are_named_and_what_is_no_greeting_is_read_no_further() {
    let (mut ours, mut theirs) = duplex(1 << 10);
    let newer = Hello { protocol: PROTOCOL + 1, ..hello("edge-1", NOW) };
    say(&mut ours, &Greeting::Hello(newer), &mut Vec::new()).await.unwrap();
    let error = welcome(&mut theirs, ("edge-1", &key()), NOW).await.err().unwrap();
    assert!(
        error.to_string().contains("the worker speaks version 2 of the protocol and the node version 1"),
        "{error}"
    );
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0, 0, 0xFF, 0xFF], &[0, 0, 0, 2, b'{', b'}', 0, 0, 0, 1]] {
        let (mut ours, mut theirs) = duplex(1 << 10);
        ours.write_all(bytes).await.unwrap();
        assert!(hear(&mut theirs, &mut Vec::new()).await.is_err());
    }
}
