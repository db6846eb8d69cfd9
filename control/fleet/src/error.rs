//! Why control does not serve a node or a worker, or does not reach one. Before it: the link; after it: the API, and what nodes are answered.

/// Why a node is not served, or not reached.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// A name that no node can have.
    #[error("a node's name has 1 to 64 bytes and no control characters; give another one with --node-name")]
    Name,
    /// Two nodes have one name.
    #[error(
        "another node of this name is here: give this one another name with --node-name. Where it is the same machine, end the other process"
    )]
    SameName,
    /// A name that no worker can have.
    #[error("a worker's name has 1 to 64 bytes and no control characters; give another one with --name")]
    WorkerName,
    /// Two workers have one name.
    #[error(
        "another worker of this name is here: give this one another name with --name. Where it is the same machine, each of them needs one of its own"
    )]
    SameWorkerName,
    /// There are too many workers.
    #[error("there are as many workers as there may be; those that are gone are forgotten after an hour")]
    Workers,
    /// There are too many nodes.
    #[error("there are as many nodes as there may be; those that are gone are forgotten after an hour")]
    Nodes,
    /// The node is not there.
    #[error("the node has not been heard lately; is it running, and does it reach control?")]
    Away,
    /// Too much waits for the node already.
    #[error("too many orders wait for the node; try again in a moment")]
    Busy,
    /// No answer in time.
    #[error("the node did not answer in time; try again in a moment")]
    Late,
    /// The node's own words.
    #[error("the node could not do it: {0}")]
    Failed(String),
    /// Events could not be kept: the node is to tell them again.
    #[error("control cannot keep events now: {0}")]
    Keeping(String),
    /// What no module of a hook can be called.
    #[error("a hook's module is asked for by its SHA-256, 64 lowercase hexadecimal digits")]
    Sha256,
    /// There is no such module.
    #[error("there is no module of this SHA-256")]
    NoModule,
    /// It is there, and cannot be read.
    #[error("control cannot read the module now: {0}")]
    Module(String),
    /// The file with a key would go where it can be read.
    #[error(
        "control sends no key over a connection that is not encrypted: have nodes come to its port with TLS (control.tls_listen); or, where a proxy \
         has the TLS, name it in control.trusted_proxies and have it say so with X-Forwarded-Proto: https"
    )]
    Plain,
    /// There is no such certificate, or no longer.
    #[error("there is no certificate of this SHA-256")]
    NoCertificate,
}

impl LinkError {
    pub(crate) fn other_answer() -> Self {
        Self::Failed("it answered something else".to_owned())
    }
}
