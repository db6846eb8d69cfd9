//! Runs requests that change something to their end, whoever goes away. Outside this, a handler is a future of its connection and ends
//! wherever it waits when the client hangs up: between the store and the nodes, too. Before it: [`super::gate`]; after it: the handlers.
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;

use super::serve::panicked;

/// Carries out a request that changes something on a task of its own; others stay with their connection.
pub(crate) async fn detach(request: Request, next: Next) -> Response {
    if request.method().is_safe() {
        return next.run(request).await;
    }
    match tokio::spawn(next.run(request)).await {
        Ok(response) => response,
        Err(error) => {
            tracing::error!(%error, "a request failed by an error of this server; what it had stored is brought to the nodes");
            panicked()
        }
    }
}
