//! The handlers, one file per thing that the API shows. This file puts them together.
use axum::extract::State;
use axum::http::StatusCode;
use axum::middleware;
use axum::response::{Redirect, Response};
use axum::routing::{get, post};
use axum::{Router, http::Method};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Api;
use crate::auth::{Viewer, login};
use crate::http::problem::Problem;
use crate::http::{detach, gate, once};
use crate::mcp::Mcp;
use crate::openapi;

pub mod addresses;
pub mod audit;
mod binding_warnings;
pub mod bindings;
pub mod by_hand;
pub mod chain;
pub mod clips;
pub mod config;
mod console;
pub mod diagnosis;
mod docs;
pub mod events;
pub mod hook_life;
pub mod hook_logs;
pub mod hook_numbers;
pub mod hooks;
pub mod key;
pub mod live;
pub mod motion;
mod newest;
pub mod nodes;
pub mod ops;
pub mod preview;
pub mod quality;
pub mod recordings;
pub mod replays;
pub mod slates;
pub mod store;
pub mod streams;
pub mod time_series;
pub mod tls;
pub mod tokens;
pub mod videostream;
pub mod webhooks;
pub mod workers;

/// Every route, and the document that describes them.
pub fn router(api: Api) -> Router {
    let keyed = OpenApiRouter::new()
        .routes(routes!(streams::list, streams::create))
        .routes(routes!(key::show, key::rotate))
        .routes(routes!(webhooks::list, webhooks::create))
        .routes(routes!(bindings::list, bindings::create))
        .routes(routes!(clips::list, clips::create))
        .layer(middleware::from_fn_with_state(api.clone(), on_post));
    let unkeyed = OpenApiRouter::new()
        .routes(routes!(streams::read, streams::update, streams::remove))
        .routes(routes!(streams::history))
        .routes(routes!(motion::motion))
        .routes(routes!(addresses::addresses))
        .routes(routes!(live::list))
        .routes(routes!(live::session, live::kick))
        .routes(routes!(live::viewers))
        .routes(routes!(diagnosis::diagnosis))
        .routes(routes!(quality::quality))
        .routes(routes!(time_series::time_series))
        .routes(routes!(preview::preview))
        .routes(routes!(live::kick_session))
        .routes(routes!(events::events))
        .routes(routes!(recordings::list))
        .routes(routes!(recordings::read, recordings::remove))
        .routes(routes!(recordings::thumbnails))
        .routes(routes!(clips::read))
        .routes(routes!(by_hand::start, by_hand::stop))
        .routes(routes!(nodes::nodes))
        .routes(routes!(workers::workers))
        .routes(routes!(tokens::list, tokens::create))
        .routes(routes!(tokens::read, tokens::remove))
        .routes(routes!(webhooks::read, webhooks::update, webhooks::remove))
        .routes(routes!(webhooks::show_secret))
        .routes(routes!(webhooks::deliveries))
        .routes(routes!(webhooks::test))
        .routes(routes!(addresses::places))
        .routes(routes!(hooks::list))
        .routes(routes!(hooks::read, hooks::put, hooks::remove))
        .routes(routes!(hooks::upload))
        .routes(routes!(hooks::version))
        .routes(routes!(hooks::module))
        .routes(routes!(hook_life::activate))
        .routes(routes!(hook_life::roll_back))
        .routes(routes!(hook_life::test))
        .routes(routes!(hook_logs::logs))
        .routes(routes!(hook_numbers::numbers))
        .routes(routes!(replays::version))
        .routes(routes!(replays::module))
        .routes(routes!(replays::decisions))
        .routes(routes!(slates::list))
        .routes(routes!(slates::read, slates::put, slates::remove))
        .routes(routes!(slates::clip))
        .routes(routes!(bindings::read, bindings::update, bindings::remove))
        .routes(routes!(audit::audit))
        .routes(routes!(config::config))
        .routes(routes!(chain::chain))
        .routes(routes!(chain::explain))
        .routes(routes!(tls::tls))
        .routes(routes!(store::store))
        .routes(routes!(login::who_am_i, login::log_in, login::log_out))
        .routes(routes!(videostream::list, videostream::create))
        .routes(routes!(videostream::read, videostream::update, videostream::remove))
        .layer(middleware::from_fn(once::refuse));
    let ops = OpenApiRouter::new().routes(routes!(ops::healthz)).routes(routes!(ops::metrics));
    let (router, document) =
        OpenApiRouter::with_openapi(openapi::head()).merge(keyed).merge(unkeyed).merge(ops).split_for_parts();
    let document = openapi::render(document);
    // The original's API gateway puts its stage in front; the handlers are the same, and one description is enough.
    let stage = Router::new()
        .route("/Prod/videostream", get(videostream::list).post(videostream::create))
        .route("/Prod/videostream/{id}", get(videostream::read).put(videostream::update).delete(videostream::remove))
        .layer(middleware::from_fn(once::refuse));
    let router = router.merge(stage);
    let mcp = Mcp::new(&document, router.clone().with_state(api.clone()));
    let mcp =
        move |State(api): State<Api>, viewer: Viewer, request: axum::extract::Request| mcp.answer(api, viewer, request);
    router
        .route("/mcp", post(mcp))
        .route("/", get(console::document))
        .route("/console", get(async || Redirect::temporary("/")))
        .route("/console/{*path}", get(console::part))
        .route("/api/v1/docs", get(docs::page))
        .route("/api/v1/docs/{file}", get(docs::part))
        .route("/api/v1/openapi.json", get(async move || openapi::show(&document)))
        .method_not_allowed_fallback(wrong_method)
        .fallback(unknown)
        .layer(middleware::from_fn(detach::detach))
        .layer(middleware::from_fn_with_state(api.clone(), gate::gate))
        .with_state(api)
}

/// Idempotency keys are for requests that make something.
async fn on_post(State(api): State<Api>, request: axum::extract::Request, next: middleware::Next) -> Response {
    if request.method() == Method::POST {
        once::once(State(api), request, next).await
    } else {
        once::refuse(request, next).await
    }
}

async fn unknown() -> Problem {
    Problem::not_found("there is nothing at this path; see /api/v1/openapi.json for what there is")
}

async fn wrong_method() -> Problem {
    let detail = "this path does not take this method; the Allow header and /api/v1/openapi.json say which";
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", detail)
}
