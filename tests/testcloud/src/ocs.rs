//! `status.php` and the OCS calls: capabilities, the current user, app passwords.
//!
//! Answers are JSON when `?format=json` or `Accept: application/json` asks for it; otherwise an XML
//! with the status only, which is enough to see that the question was wrong.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{Router, delete, get, post};
use serde_json::{Value, json};

use crate::auth::{Caller, SAME_SITE, Visitor};
use crate::cloud::Cloud;

type Parameters = Query<HashMap<String, String>>;

pub(crate) fn routes() -> Router<Arc<Cloud>> {
    Router::new()
        .route("/status.php", get(status))
        .route("/ocs/v2.php/cloud/capabilities", get(capabilities))
        .route("/ocs/v2.php/cloud/user", get(user))
        .route("/ocs/v2.php/core/getapppassword", get(get_app_password))
        .route("/ocs/v2.php/core/apppassword/rotate", post(rotate))
        .route("/ocs/v2.php/core/apppassword", delete(delete_app_password))
}

async fn status(State(cloud): State<Arc<Cloud>>) -> Response<Body> {
    let status = json!({
        "installed": true,
        "maintenance": cloud.maintenance.load(Ordering::Relaxed),
        "needsDbUpgrade": false,
        "version": "32.0.1.2",
        "versionstring": "32.0.1",
        "edition": "",
        "productname": "Nextcloud",
        "extendedSupport": false,
    });
    let mut response = (
        [(header::CONTENT_TYPE, "application/json"), (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*")],
        status.to_string(),
    )
        .into_response();
    for cookie in SAME_SITE {
        response.headers_mut().append(header::SET_COOKIE, HeaderValue::from_static(cookie));
    }
    response
}

/// A request on its way to an OCS answer.
struct Call {
    visitor: Visitor,
    json: bool,
}

impl Call {
    /// The early answer is that of a request without `OCS-APIRequest`, or in maintenance.
    fn begin(
        cloud: &Cloud,
        headers: &HeaderMap,
        parameters: &Parameters,
    ) -> Result<Self, Box<Response<Body>>> {
        let accepts = headers
            .get(header::ACCEPT)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|accept| accept.contains("application/json"));
        let json = accepts || parameters.get("format").is_some_and(|format| format == "json");
        let mut call = Self { visitor: cloud.visitor(headers), json };
        if cloud.maintenance.load(Ordering::Relaxed) {
            call.visitor.caller = Caller::Nobody;
            let mut response = call.finish(503, "Service unavailable", &json!([]));
            response
                .headers_mut()
                .insert("x-nextcloud-maintenance-mode", HeaderValue::from_static("1"));
            return Err(Box::new(response));
        }
        if !headers.contains_key("ocs-apirequest") {
            let body = json!({"message": "CSRF check failed"}).to_string();
            return Err(Box::new(call.respond(StatusCode::PRECONDITION_FAILED, JSON, body)));
        }
        Ok(call)
    }

    fn user(&self) -> Option<&str> {
        match &self.visitor.caller {
            Caller::User { id, .. } => Some(id),
            _ => None,
        }
    }

    fn unauthorised(self) -> Response<Body> {
        match self.visitor.caller {
            Caller::Nobody => self.finish(997, "Current user is not logged in", &json!([])),
            _ => {
                let mut response = self.finish(997, "Unauthorised", &json!([]));
                response.headers_mut().insert(
                    header::WWW_AUTHENTICATE,
                    HeaderValue::from_static("Basic realm=\"Authorisation Required\""),
                );
                response
            }
        }
    }

    fn ok(self, data: &Value) -> Response<Body> {
        self.finish(200, "OK", data)
    }

    /// 997 is the code of OCS for 401.
    fn finish(self, code: u16, message: &str, data: &Value) -> Response<Body> {
        let http = if code == 997 { 401 } else { code };
        let status = StatusCode::from_u16(http).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let verdict = if code == 200 { "ok" } else { "failure" };
        if self.json {
            let meta = json!({"status": verdict, "statuscode": code, "message": message});
            let body = json!({"ocs": {"meta": meta, "data": data}}).to_string();
            self.respond(status, JSON, body)
        } else {
            let body = format!(
                "<?xml version=\"1.0\"?>\n<ocs>\n <meta>\n  <status>{verdict}</status>\n  \
                 <statuscode>{code}</statuscode>\n  <message>{message}</message>\n </meta>\n \
                 <data/>\n</ocs>\n"
            );
            self.respond(status, "application/xml; charset=utf-8", body)
        }
    }

    fn respond(self, status: StatusCode, content_type: &str, body: String) -> Response<Body> {
        let user = self.user().and_then(|id| HeaderValue::from_str(id).ok());
        let mut response = (status, [(header::CONTENT_TYPE, content_type)], body).into_response();
        let headers = response.headers_mut();
        for cookie in self.visitor.cookies {
            headers.append(header::SET_COOKIE, cookie);
        }
        if let Some(user) = user {
            headers.insert(HeaderName::from_static("x-user-id"), user);
        }
        response
    }
}

const JSON: &str = "application/json; charset=utf-8";

async fn capabilities(
    State(cloud): State<Arc<Cloud>>,
    headers: HeaderMap,
    parameters: Parameters,
) -> Response<Body> {
    let call = match Call::begin(&cloud, &headers, &parameters) {
        Ok(call) => call,
        Err(response) => return *response,
    };
    let mut capabilities = json!({
        "bruteforce": {"delay": 0, "allow-listed": false},
        "app_api": {"version": "32.0.0"},
        "theming": {"name": "Nextcloud", "productName": "Nextcloud", "url": "https://nextcloud.com"},
    });
    if call.user().is_some() {
        capabilities["core"] = json!({
            "pollinterval": 60,
            "webdav-root": "remote.php/webdav",
            "reference-api": true,
            "mod-rewrite-working": true,
        });
        capabilities["dav"] = json!({
            "chunking": "1.0",
            "public_shares_chunking": false,
            "absence-supported": true,
            "absence-replacement": true,
        });
        capabilities["files"] = json!({
            "blacklisted_files": [".htaccess"],
            "forbidden_filenames": [".htaccess"],
            "forbidden_filename_basenames": [],
            "forbidden_filename_characters": ["\\", "/"],
            "forbidden_filename_extensions": [".filepart", ".part"],
            "bigfilechunking": true,
            "chunked_upload": {"max_size": 104_857_600, "max_parallel_count": 5},
            "windows_compatible_filenames": false,
            "comments": true,
            "undelete": false,
            "delete_from_trash": false,
            "versioning": true,
            "version_labeling": false,
            "version_deletion": false,
        });
    }
    call.ok(&json!({
        "version": {
            "major": 32,
            "minor": 0,
            "micro": 1,
            "string": "32.0.1",
            "edition": "",
            "extendedSupport": false,
        },
        "capabilities": capabilities,
    }))
}

async fn user(
    State(cloud): State<Arc<Cloud>>,
    headers: HeaderMap,
    parameters: Parameters,
) -> Response<Body> {
    let call = match Call::begin(&cloud, &headers, &parameters) {
        Ok(call) => call,
        Err(response) => return *response,
    };
    let Some(id) = call.user().map(ToOwned::to_owned) else {
        return call.unauthorised();
    };
    let (email, used, quota) = match cloud.state().accounts.get(&id) {
        Some(account) => (account.email.clone(), account.used(), account.quota),
        None => (None, 0, None),
    };
    // -3: unlimited (FACTS 2).
    let quota = match quota {
        None => json!({"free": -3, "used": used, "total": -3, "relative": 0, "quota": -3}),
        Some(quota) => json!({
            "free": quota.saturating_sub(used),
            "used": used,
            "total": quota,
            "relative": 100 * used / quota.max(1),
            "quota": quota,
        }),
    };
    call.ok(&json!({
        "enabled": true,
        "id": id,
        "backend": "Database",
        "quota": quota,
        "email": email,
        "displayname": id,
        "display-name": id,
        "groups": [],
        "language": "en",
    }))
}

/// Each of the three wants one kind of password and refuses the other.
enum Wanted {
    Login,
    App,
}

fn app_password_call(
    cloud: &Cloud,
    headers: &HeaderMap,
    parameters: &Parameters,
    wanted: &Wanted,
) -> Result<(Call, String, Option<String>), Box<Response<Body>>> {
    let call = Call::begin(cloud, headers, parameters)?;
    let (id, used) = match &call.visitor.caller {
        Caller::User { id, app_password } => (id.clone(), app_password.clone()),
        _ => return Err(Box::new(call.unauthorised())),
    };
    let refusal = match (wanted, &used) {
        (Wanted::Login, Some(_)) => "You cannot request an new apppassword with an apppassword",
        (Wanted::App, None) => "no app password in use",
        _ => return Ok((call, id, used)),
    };
    Err(Box::new(call.finish(403, refusal, &json!([]))))
}

/// An app password is named after who asked for it.
fn client(headers: &HeaderMap) -> &str {
    headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

async fn get_app_password(
    State(cloud): State<Arc<Cloud>>,
    headers: HeaderMap,
    parameters: Parameters,
) -> Response<Body> {
    match app_password_call(&cloud, &headers, &parameters, &Wanted::Login) {
        Ok((call, id, _)) => {
            let password = cloud.state().add_app_password(&id, &id, client(&headers));
            call.ok(&json!({"apppassword": password}))
        }
        Err(response) => *response,
    }
}

async fn rotate(
    State(cloud): State<Arc<Cloud>>,
    headers: HeaderMap,
    parameters: Parameters,
) -> Response<Body> {
    match app_password_call(&cloud, &headers, &parameters, &Wanted::App) {
        Ok((call, id, used)) => {
            let password = cloud.state().add_app_password(&id, &id, client(&headers));
            cloud.revoke(&used.unwrap_or_default());
            call.ok(&json!({"apppassword": password}))
        }
        Err(response) => *response,
    }
}

async fn delete_app_password(
    State(cloud): State<Arc<Cloud>>,
    headers: HeaderMap,
    parameters: Parameters,
) -> Response<Body> {
    match app_password_call(&cloud, &headers, &parameters, &Wanted::App) {
        Ok((call, _, used)) => {
            cloud.revoke(&used.unwrap_or_default());
            call.ok(&json!([]))
        }
        Err(response) => *response,
    }
}
