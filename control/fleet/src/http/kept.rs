//! A connection to control that is kept from message to message, and the token that control is shown. Before it: a node's agent, and workers of other machines;
//! after it: [`super::client`].
use std::time::Duration;

use axum::body::Bytes;
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, HeaderValue};
use millstream_proto::secret::Secret;

use super::client::{AskError, Connection, Reply};
use super::guard::Guard;
use super::url::Url;

/// The connection, while there is one.
#[derive(Debug, Default)]
pub struct KeptConnection(Option<Connection>);

impl KeptConnection {
    /// Posts JSON as [`Connection::post`] does, over the connection that there is, else over a new one. The URL is the operator's own, so it may be any
    /// address. What breaks on a connection that was used before is sent once more, and may be heard twice: the other side may have closed it just then.
    pub async fn post(
        &mut self,
        url: &Url,
        headers: &HeaderMap,
        body: &Bytes,
        wait: Duration,
        reply_bytes_max: usize,
    ) -> Result<Reply, AskError> {
        let mut old = self.0.take().filter(Connection::is_open);
        loop {
            let was_used = old.is_some();
            let mut connection = match old.take() {
                Some(connection) => connection,
                None => Connection::open(url, &Guard::Open).await?,
            };
            match connection.post(url, headers.clone(), body.clone(), wait, reply_bytes_max).await {
                Ok(reply) => {
                    self.0 = Some(connection);
                    return Ok(reply);
                }
                Err(AskError::Broken(..)) if was_used => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// The header with which a token is shown; `None`: it has characters that no header has.
pub fn bearer(token: &Secret) -> Option<HeaderMap> {
    let mut bearer = HeaderValue::from_str(&format!("Bearer {}", token.expose())).ok()?;
    bearer.set_sensitive(true);
    Some(HeaderMap::from_iter([(AUTHORIZATION, bearer)]))
}
