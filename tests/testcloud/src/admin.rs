//! The admin endpoint below `/testcloud/`, for tests in other processes and `ncfs demo`. JSON in and
//! out, loopback only, without credentials, neither logged nor delayed.
//!
//! | request                    | body                                      | answer                 |
//! | -------------------------- | ----------------------------------------- | ---------------------- |
//! | `GET /requests`            |                                           | `{requests, counters}` |
//! | `DELETE /requests`         |                                           |                        |
//! | `GET /faults`              |                                           | what is left of them   |
//! | `POST /faults`             | a [`Fault`]                               |                        |
//! | `DELETE /faults`           |                                           |                        |
//! | `PUT /latency`             | a [`Latency`]                             |                        |
//! | `PUT /maintenance`         | `{"on": true}`                            |                        |
//! | `PUT /clock`               | `{"second": 1700000000}`; null: runs      |                        |
//! | `PUT /users/<id>`          | `{"password": ".."}`                      |                        |
//! | `PUT /users/<id>/quota`    | `{"bytes": 1000}`; null: unlimited        |                        |
//! | `POST /users/<id>/app-passwords` |                                     | `{"app_password": ".."}` |
//! | `GET /users/<id>/app-passwords`  |                                     | their names            |
//! | `POST /login-flows/grant`  | `{"login_token": "..", "user": ".."}`     | 404 if it is over      |
//! | `DELETE /login-flows`      |                                           | all are expired        |
//! | `PUT /announced`           | `{"url": "http://.."}`; null: as asked    |                        |
//! | `POST /revoke`             | `{"app_password": ".."}`                  | 404 if there is none   |
//!
//! A fault looks like this, with everything but `method` optional:
//! `{"method": "PUT", "path": "\\.ipynb$", "after": 0, "times": 2, "delay_ms": 100,
//! "action": {"answer": {"status": 429, "headers": {"Retry-After": "1"}}}}`; the other actions are
//! `"none"`, `"hang_up_before"`, `"hang_up_after"`, `{"cut_request": {"bytes": n}}`,
//! `{"cut_response": {"bytes": n}}` and `{"etag": {"value": "\"x\""}}`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::{Path, Request, State};
use axum::http::{Response, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::IntoResponse;
use axum::routing::{delete, get, post, put};
use axum::{Json, Router, body::Body};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::cloud::Cloud;
use crate::faults::Fault;
use crate::latency::Latency;
use crate::server::Peer;

pub(crate) fn routes() -> Router<Arc<Cloud>> {
    Router::new()
        .route("/requests", get(requests).delete(reset_requests))
        .route("/faults", get(faults).post(add_fault).delete(clear_faults))
        .route("/latency", put(latency))
        .route("/maintenance", put(maintenance))
        .route("/clock", put(clock))
        .route("/users/{id}", put(add_user))
        .route("/users/{id}/quota", put(quota))
        .route("/users/{id}/app-passwords", get(app_passwords).post(app_password))
        .route("/login-flows/grant", post(grant_flow))
        .route("/login-flows", delete(expire_flows))
        .route("/announced", put(announced))
        .route("/revoke", post(revoke))
        .layer(from_fn(loopback_only))
}

async fn loopback_only(request: Request, next: Next) -> Response<Body> {
    let local = request.extensions().get::<Peer>().is_some_and(|peer| peer.0.ip().is_loopback());
    if local { next.run(request).await } else { StatusCode::FORBIDDEN.into_response() }
}

type Shared = State<Arc<Cloud>>;

async fn requests(State(cloud): Shared) -> Json<Value> {
    Json(json!({
        "requests": cloud.requests.list(),
        "counters": cloud.requests.counters(),
    }))
}

async fn reset_requests(State(cloud): Shared) {
    cloud.requests.reset();
}

async fn faults(State(cloud): Shared) -> Json<Vec<Fault>> {
    Json(cloud.faults.list())
}

async fn add_fault(
    State(cloud): Shared,
    Json(fault): Json<Fault>,
) -> Result<(), (StatusCode, String)> {
    cloud.faults.add(fault).map_err(|error| (StatusCode::BAD_REQUEST, error))
}

async fn clear_faults(State(cloud): Shared) {
    cloud.faults.clear();
}

async fn latency(State(cloud): Shared, Json(latency): Json<Latency>) {
    cloud.throttle.set(latency);
}

#[derive(Deserialize)]
struct Maintenance {
    on: bool,
}

async fn maintenance(State(cloud): Shared, Json(Maintenance { on }): Json<Maintenance>) {
    cloud.maintenance.store(on, Ordering::Relaxed);
}

#[derive(Deserialize)]
struct Clock {
    second: Option<i64>,
}

async fn clock(State(cloud): Shared, Json(Clock { second }): Json<Clock>) {
    cloud.stamps.freeze(second);
}

#[derive(Deserialize)]
struct NewUser {
    password: String,
}

async fn add_user(
    State(cloud): Shared,
    Path(id): Path<String>,
    Json(NewUser { password }): Json<NewUser>,
) -> Result<(), (StatusCode, String)> {
    cloud.add_user(&id, &password).map_err(|error| (StatusCode::BAD_REQUEST, error.to_string()))
}

#[derive(Deserialize)]
struct Quota {
    bytes: Option<u64>,
}

async fn quota(
    State(cloud): Shared,
    Path(id): Path<String>,
    Json(Quota { bytes }): Json<Quota>,
) -> StatusCode {
    found(cloud.set_quota(&id, bytes))
}

async fn app_password(
    State(cloud): Shared,
    Path(id): Path<String>,
) -> Result<Json<Value>, StatusCode> {
    if !cloud.state().accounts.contains_key(&id) {
        return Err(StatusCode::NOT_FOUND);
    }
    let password = cloud.state().add_app_password(&id, &id, "");
    Ok(Json(json!({"app_password": password})))
}

async fn app_passwords(State(cloud): Shared, Path(id): Path<String>) -> Json<Vec<String>> {
    Json(cloud.app_passwords(&id))
}

#[derive(Deserialize)]
struct Grant {
    login_token: String,
    user: String,
}

async fn grant_flow(
    State(cloud): Shared,
    Json(Grant { login_token, user }): Json<Grant>,
) -> StatusCode {
    found(cloud.grant_flow(&login_token, &user, &user))
}

async fn expire_flows(State(cloud): Shared) {
    cloud.expire_flows();
}

#[derive(Deserialize)]
struct Announced {
    url: Option<String>,
}

async fn announced(State(cloud): Shared, Json(Announced { url }): Json<Announced>) {
    cloud.state().announced = url;
}

#[derive(Deserialize)]
struct Revoke {
    app_password: String,
}

async fn revoke(State(cloud): Shared, Json(Revoke { app_password }): Json<Revoke>) -> StatusCode {
    found(cloud.revoke(&app_password))
}

fn found(found: bool) -> StatusCode {
    if found { StatusCode::OK } else { StatusCode::NOT_FOUND }
}
