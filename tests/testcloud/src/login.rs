//! Login Flow v2 (FACTS 11): a client starts it, a person grants it in a browser, the client polls.
//!
//! The pages are plain HTML with the addresses, form fields and the order of the real ones. Beyond the
//! real server the grant page has a button to deny: the flow is forgotten, as if it had expired. There
//! are no request tokens against forged forms.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Form;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{Router, get, post};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::json;

use crate::auth::{SAME_SITE, random};
use crate::cloud::Cloud;

/// From the start of a flow to its end, seconds.
const LIFE: i64 = 20 * 60;

/// What a client started and has not fetched.
pub(crate) struct Flow {
    poll_token: String,
    login_token: String,
    /// `User-Agent` of the client: the name of the app password.
    client: String,
    began: i64,
    granted: Option<Granted>,
}

struct Granted {
    login: String,
    app_password: String,
}

/// What the server keeps of a browser between its requests.
#[derive(Default)]
pub(crate) struct Browser {
    login_token: Option<String>,
    /// Good for one answer to the grant page.
    state_token: Option<String>,
    user: Option<Person>,
}

#[derive(Clone)]
struct Person {
    id: String,
    /// What they logged in with.
    login: String,
}

/// By the value of the session cookie.
pub(crate) type Browsers = HashMap<String, Browser>;

pub(crate) fn routes() -> Router<Arc<Cloud>> {
    let pages = || {
        Router::new()
            .route("/login", get(login_page).post(log_in))
            .route("/login/v2", post(start))
            .route("/login/v2/poll", post(poll))
            .route("/login/v2/flow/{token}", get(open))
            .route("/login/v2/flow", get(picker))
            .route("/login/v2/grant", get(grant_page).post(grant))
            .route("/login/v2/deny", post(deny))
    };
    Router::new().merge(pages()).nest("/index.php", pages())
}

type Shared = State<Arc<Cloud>>;

async fn start(State(cloud): Shared, headers: HeaderMap) -> Response<Body> {
    if cloud.maintenance.load(Ordering::Relaxed) {
        return maintenance();
    }
    let flow = Flow {
        poll_token: random(128),
        login_token: random(128),
        client: text(&headers, header::USER_AGENT).to_owned(),
        began: cloud.stamps.now(),
        granted: None,
    };
    let base = cloud.announced(&headers);
    let answer = json!({
        "poll": {"token": flow.poll_token, "endpoint": format!("{base}/login/v2/poll")},
        "login": format!("{base}/login/v2/flow/{}", flow.login_token),
    });
    cloud.state().flows.push(flow);
    cloud.json_page(StatusCode::OK, &answer)
}

#[derive(Deserialize)]
struct Poll {
    token: String,
}

/// Pending, unknown, expired and fetched are one answer.
async fn poll(
    State(cloud): Shared,
    headers: HeaderMap,
    Form(Poll { token }): Form<Poll>,
) -> Response<Body> {
    if cloud.maintenance.load(Ordering::Relaxed) {
        return maintenance();
    }
    cloud.forget_expired_flows();
    let granted = {
        let mut state = cloud.state();
        let found = state.flows.iter().position(|flow| flow.poll_token == token);
        found
            .filter(|at| state.flows[*at].granted.is_some())
            .and_then(|at| state.flows.swap_remove(at).granted)
    };
    match granted {
        None => cloud.json_page(StatusCode::NOT_FOUND, &json!([])),
        Some(Granted { login, app_password }) => {
            let base = cloud.announced(&headers);
            let answer = json!({"server": base, "loginName": login, "appPassword": app_password});
            cloud.json_page(StatusCode::OK, &answer)
        }
    }
}

/// The link that the person opens.
async fn open(
    State(cloud): Shared,
    headers: HeaderMap,
    Path(token): Path<String>,
) -> Response<Body> {
    cloud.forget_expired_flows();
    if !cloud.state().flows.iter().any(|flow| flow.login_token == token) {
        return forbidden(OVER);
    }
    cloud.with_browser(&headers, |browser| {
        browser.login_token = Some(token);
        see_other("/login/v2/flow?user=&direct=0")
    })
}

async fn picker(State(cloud): Shared, headers: HeaderMap) -> Response<Body> {
    let Some(client) = cloud.client_of(&headers) else {
        return forbidden(OVER);
    };
    cloud.with_browser(&headers, |browser| {
        let state_token = random(64);
        let page = page(
            "Connect to your account",
            &format!(
                "<p>Please log in before granting <strong>{}</strong> access to your account.</p>\n\
                 <form id=\"login-form\" method=\"get\" action=\"/index.php/login/v2/grant\">\n\
                 <input type=\"hidden\" name=\"stateToken\" value=\"{state_token}\">\n\
                 <button type=\"submit\">Log in</button>\n</form>",
                escape(&client)
            ),
        );
        browser.state_token = Some(state_token);
        page
    })
}

#[derive(Deserialize)]
struct StateToken {
    #[serde(rename = "stateToken")]
    state_token: String,
}

async fn grant_page(
    State(cloud): Shared,
    headers: HeaderMap,
    Query(StateToken { state_token }): Query<StateToken>,
) -> Response<Body> {
    let client = cloud.client_of(&headers);
    cloud.with_browser(&headers, |browser| {
        let Some(person) = &browser.user else {
            if !text(&headers, header::ACCEPT).contains("text/html") {
                return StatusCode::UNAUTHORIZED.into_response();
            }
            let back = format!("/index.php/login/v2/grant?stateToken={state_token}");
            return see_other(&format!("/login?redirect_url={}", in_query(&back)));
        };
        let Some(client) = client else {
            return forbidden(OVER);
        };
        if browser.state_token.as_ref() != Some(&state_token) {
            return forbidden(WRONG_STATE);
        }
        let token = escape(&state_token);
        let form = |action: &str, label: &str| {
            format!(
                "<form method=\"post\" action=\"/index.php/login/v2/{action}\">\n\
                 <input type=\"hidden\" name=\"stateToken\" value=\"{token}\">\n\
                 <button type=\"submit\">{label}</button>\n</form>\n"
            )
        };
        let page = page(
            "Account access",
            &format!(
                "<p>Currently logged in as {}.</p>\n\
                 <p>You are about to grant <strong>{}</strong> access to your account.</p>\n{}{}",
                escape(&person.id),
                escape(&client),
                form("grant", "Grant access"),
                form("deny", "Deny"),
            ),
        );
        logged_in_as(page, &person.id)
    })
}

async fn grant(
    State(cloud): Shared,
    headers: HeaderMap,
    Form(StateToken { state_token }): Form<StateToken>,
) -> Response<Body> {
    let Some((person, login_token)) = cloud.take_state_token(&headers, &state_token) else {
        return forbidden(WRONG_STATE);
    };
    if !cloud.grant_flow(&login_token, &person.id, &person.login) {
        return forbidden("Could not complete login");
    }
    let done = "<p>Your client should now be connected! You can close this window.</p>";
    logged_in_as(page("Account connected", done), &person.id)
}

async fn deny(
    State(cloud): Shared,
    headers: HeaderMap,
    Form(StateToken { state_token }): Form<StateToken>,
) -> Response<Body> {
    let Some((_, login_token)) = cloud.take_state_token(&headers, &state_token) else {
        return forbidden(WRONG_STATE);
    };
    cloud.state().flows.retain(|flow| flow.login_token != login_token);
    page("Access denied", "<p>Nothing was granted. You can close this window.</p>")
}

#[derive(Deserialize)]
struct Back {
    #[serde(default)]
    redirect_url: String,
    /// Set after a wrong password.
    #[serde(default)]
    user: String,
}

async fn login_page(
    State(cloud): Shared,
    headers: HeaderMap,
    Query(back): Query<Back>,
) -> Response<Body> {
    if cloud.maintenance.load(Ordering::Relaxed) {
        return maintenance();
    }
    cloud.with_browser(&headers, |_| {
        let wrong = match back.user.is_empty() {
            true => "",
            false => "<p role=\"alert\">Wrong login or password.</p>\n",
        };
        page(
            "Log in",
            &format!(
                "{wrong}<form method=\"post\" action=\"/index.php/login\">\n\
                 <p><label for=\"user\">Account name or email</label>\n\
                 <input id=\"user\" name=\"user\" autocomplete=\"username\" required \
                 value=\"{}\"></p>\n\
                 <p><label for=\"password\">Password</label>\n\
                 <input id=\"password\" name=\"password\" type=\"password\" \
                 autocomplete=\"current-password\" required></p>\n\
                 <input type=\"hidden\" name=\"redirect_url\" value=\"{}\">\n\
                 <button type=\"submit\">Log in</button>\n</form>",
                escape(&back.user),
                escape(&back.redirect_url),
            ),
        )
    })
}

#[derive(Deserialize)]
struct LogIn {
    user: String,
    password: String,
    #[serde(default)]
    redirect_url: String,
}

async fn log_in(
    State(cloud): Shared,
    headers: HeaderMap,
    Form(form): Form<LogIn>,
) -> Response<Body> {
    let id = cloud.state().with_login_password(&form.user, &form.password);
    cloud.with_browser(&headers, |browser| {
        let Some(id) = id else {
            let (back, user) = (in_query(&form.redirect_url), in_query(&form.user));
            return see_other(&format!("/login?redirect_url={back}&user={user}"));
        };
        browser.user = Some(Person { id: id.clone(), login: form.user });
        // Only to a page of this server.
        let is_own = form.redirect_url.starts_with('/') && !form.redirect_url.starts_with("//");
        logged_in_as(see_other(if is_own { &form.redirect_url } else { "/" }), &id)
    })
}

impl Cloud {
    /// The address that is told to clients, which may be another than theirs.
    fn announced(&self, headers: &HeaderMap) -> String {
        let told = self.state().announced.clone();
        told.unwrap_or_else(|| format!("http://{}", text(headers, header::HOST)))
    }

    fn forget_expired_flows(&self) {
        let now = self.stamps.now();
        self.state().flows.retain(|flow| now - flow.began < LIFE);
    }

    /// Ends all flows as if their time was over.
    pub(crate) fn expire_flows(&self) {
        self.state().flows.clear();
    }

    /// Makes the app password of a flow; false if that is over.
    pub(crate) fn grant_flow(&self, login_token: &str, user: &str, login: &str) -> bool {
        self.forget_expired_flows();
        let mut state = self.state();
        let found = state.flows.iter().position(|flow| flow.login_token == login_token);
        let Some(at) = found else { return false };
        let client = state.flows[at].client.clone();
        let app_password = state.add_app_password(user, login, &client);
        state.flows[at].granted = Some(Granted { login: login.to_owned(), app_password });
        true
    }

    /// The names of a user's app passwords, sorted.
    pub(crate) fn app_passwords(&self, user: &str) -> Vec<String> {
        let state = self.state();
        let own = state.app_passwords.values().filter(|one| one.user == user);
        let mut names: Vec<String> = own.map(|one| one.name.clone()).collect();
        names.sort();
        names
    }

    /// The client whose flow this browser is about.
    fn client_of(&self, headers: &HeaderMap) -> Option<String> {
        self.forget_expired_flows();
        let id = self.browser_cookie(headers)?;
        let state = self.state();
        let token = state.browsers.get(&id)?.login_token.as_ref()?;
        let flow = state.flows.iter().find(|flow| flow.login_token == *token)?;
        Some(flow.client.clone())
    }

    /// The person and the flow of an answer to the grant page, whose state token is used up with it.
    fn take_state_token(&self, headers: &HeaderMap, given: &str) -> Option<(Person, String)> {
        let id = self.browser_cookie(headers)?;
        let mut state = self.state();
        let browser = state.browsers.get_mut(&id)?;
        browser.state_token.take_if(|token| token == given)?;
        Some((browser.user.clone()?, browser.login_token.take()?))
    }

    /// Lets a page work with what is kept of its browser, whose cookie is set if it has none.
    fn with_browser(
        &self,
        headers: &HeaderMap,
        answer: impl FnOnce(&mut Browser) -> Response<Body>,
    ) -> Response<Body> {
        let known = self.browser_cookie(headers);
        let id = known.clone().unwrap_or_else(|| random(26));
        let mut response = answer(self.state().browsers.entry(id.clone()).or_default());
        if known.is_none() {
            self.set_cookies(&mut response, &id);
        }
        response
    }

    /// The session of a browser that is known here.
    fn browser_cookie(&self, headers: &HeaderMap) -> Option<String> {
        let cookies = headers.get_all(header::COOKIE).into_iter().filter_map(|c| c.to_str().ok());
        let id = cookies.flat_map(|line| line.split(';')).find_map(|cookie| {
            let (name, value) = cookie.trim().split_once('=')?;
            (name == self.stamps.instance()).then(|| value.to_owned())
        })?;
        self.state().browsers.contains_key(&id).then_some(id)
    }

    fn set_cookies(&self, response: &mut Response<Body>, id: &str) {
        let own = [
            format!("oc_sessionPassphrase={}; path=/; HttpOnly; SameSite=Lax", random(128)),
            format!("{}={id}; path=/; HttpOnly; SameSite=Lax", self.stamps.instance()),
        ];
        let cookies = SAME_SITE.map(str::to_owned).into_iter().chain(own);
        for cookie in cookies.filter_map(|cookie| HeaderValue::from_str(&cookie).ok()) {
            response.headers_mut().append(header::SET_COOKIE, cookie);
        }
    }

    /// An answer to the client.
    fn json_page(&self, status: StatusCode, body: &serde_json::Value) -> Response<Body> {
        let kind = [(header::CONTENT_TYPE, "application/json; charset=utf-8")];
        let mut response = (status, kind, body.to_string()).into_response();
        self.set_cookies(&mut response, &random(26));
        response
    }
}

const OVER: &str = "Your login token is invalid or has expired";
const WRONG_STATE: &str = "State token does not match";
const HTML: (HeaderName, &str) = (header::CONTENT_TYPE, "text/html; charset=UTF-8");

fn text(headers: &HeaderMap, name: HeaderName) -> &str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn page(title: &str, body: &str) -> Response<Body> {
    let html = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <title>{title}</title>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n{body}\n</main>\n\
         </body>\n</html>\n"
    );
    ([HTML], html).into_response()
}

fn forbidden(why: &str) -> Response<Body> {
    (StatusCode::FORBIDDEN, page("Access forbidden", &format!("<p>{why}</p>"))).into_response()
}

fn maintenance() -> Response<Body> {
    let mode = (HeaderName::from_static("x-nextcloud-maintenance-mode"), "1");
    let later = (header::RETRY_AFTER, "120");
    let page = page("Maintenance mode", "<p>This instance is currently in maintenance mode.</p>");
    (StatusCode::SERVICE_UNAVAILABLE, [mode, later], page).into_response()
}

fn see_other(to: &str) -> Response<Body> {
    let mut response = (StatusCode::SEE_OTHER, [HTML]).into_response();
    if let Ok(to) = HeaderValue::from_str(to) {
        response.headers_mut().insert(header::LOCATION, to);
    }
    response
}

fn logged_in_as(mut response: Response<Body>, user: &str) -> Response<Body> {
    if let Ok(user) = HeaderValue::from_str(user) {
        response.headers_mut().insert(HeaderName::from_static("x-user-id"), user);
    }
    response
}

fn in_query(text: &str) -> impl std::fmt::Display {
    utf8_percent_encode(text, NON_ALPHANUMERIC)
}

fn escape(text: &str) -> String {
    quick_xml::escape::escape(text).into_owned()
}
