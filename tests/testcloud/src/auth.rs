//! Who is asking: session cookies, login passwords, app passwords (FACTS 0.7, 11).
//!
//! A live session wins over whatever `Authorization` says. A request without one that brings good
//! credentials gets a session. What was revoked works nowhere any more, at once; a real server goes on
//! for up to 10 s.

use axum::http::{HeaderMap, HeaderValue, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rand::RngExt as _;

use crate::cloud::{AppPassword, Cloud, Session, State};

const PASSPHRASE: &str = "oc_sessionPassphrase";

/// The two cookies that nobody looks at again.
pub(crate) const SAME_SITE: [&str; 2] = [
    "nc_sameSiteCookielax=true; path=/; httponly;expires=Fri, 31-Dec-2100 23:59:59 GMT; SameSite=lax",
    "nc_sameSiteCookiestrict=true; path=/; httponly;expires=Fri, 31-Dec-2100 23:59:59 GMT; SameSite=strict",
];

/// A client that keeps no cookies makes a session with each request; those who keep theirs log in
/// again when all are forgotten.
const MAX_SESSIONS: usize = 100_000;

/// Who asks, and what the answer's `Set-Cookie` headers are.
pub(crate) struct Visitor {
    pub caller: Caller,
    pub cookies: Vec<HeaderValue>,
}

pub(crate) enum Caller {
    User {
        id: String,
        /// None: the login password was used.
        app_password: Option<String>,
    },
    /// No credentials at all.
    Nobody,
    /// Credentials of this scheme that are wrong.
    Refused(Scheme),
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    Basic,
    Bearer,
}

impl Cloud {
    pub(crate) fn visitor(&self, headers: &HeaderMap) -> Visitor {
        let mut state = self.state();
        if let Some(session) = self.session(&state, headers) {
            return Visitor {
                caller: Caller::User { id: session.user, app_password: session.app_password },
                cookies: Vec::new(),
            };
        }
        let caller = state.caller(headers);
        let key = (random(26), random(128));
        let mut cookies: Vec<HeaderValue> = SAME_SITE.map(HeaderValue::from_static).into();
        for cookie in [
            format!("{PASSPHRASE}={}; path=/; HttpOnly; SameSite=Lax", key.1),
            format!("{}={}; path=/; HttpOnly; SameSite=Lax", self.stamps.instance(), key.0),
        ] {
            cookies.extend(HeaderValue::from_str(&cookie).ok());
        }
        if let Caller::User { id, app_password } = &caller {
            let session = Session { user: id.clone(), app_password: app_password.clone() };
            if state.sessions.len() == MAX_SESSIONS {
                state.sessions.clear();
            }
            state.sessions.insert(key, session);
        }
        Visitor { caller, cookies }
    }

    fn session(&self, state: &State, headers: &HeaderMap) -> Option<Session> {
        let (mut id, mut passphrase) = (None, None);
        for header in headers.get_all(header::COOKIE) {
            for cookie in header.to_str().ok()?.split(';') {
                match cookie.trim().split_once('=') {
                    Some((PASSPHRASE, value)) => passphrase = Some(value),
                    Some((name, value)) if name == self.stamps.instance() => id = Some(value),
                    _ => {}
                }
            }
        }
        let key = (id?.to_owned(), passphrase?.to_owned());
        state.sessions.get(&key).cloned()
    }

    /// Ends an app password and the sessions it began; false if there is none.
    pub(crate) fn revoke(&self, app_password: &str) -> bool {
        let mut state = self.state();
        state.sessions.retain(|_, session| session.app_password.as_deref() != Some(app_password));
        state.app_passwords.remove(app_password).is_some()
    }
}

impl State {
    /// Makes an app password: `login` is the login name that it belongs to, `name` that of the client.
    pub(crate) fn add_app_password(&mut self, user: &str, login: &str, name: &str) -> String {
        let password = random(72);
        let [user, login, name] = [user, login, name].map(str::to_owned);
        self.app_passwords.insert(password.clone(), AppPassword { user, login, name });
        password
    }

    fn caller(&self, headers: &HeaderMap) -> Caller {
        let Some(value) = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok())
        else {
            return Caller::Nobody;
        };
        let Some(encoded) = value.strip_prefix("Basic ") else {
            return Caller::Refused(Scheme::Bearer);
        };
        STANDARD
            .decode(encoded.trim())
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .and_then(|text| {
                let (login, password) = text.split_once(':')?;
                self.check(login, password)
            })
            .unwrap_or(Caller::Refused(Scheme::Basic))
    }

    fn check(&self, login: &str, password: &str) -> Option<Caller> {
        if let Some(app) = self.app_passwords.get(password) {
            return app.login.eq_ignore_ascii_case(login).then(|| Caller::User {
                id: app.user.clone(),
                app_password: Some(password.to_owned()),
            });
        }
        let id = self.with_login_password(login, password)?;
        Some(Caller::User { id, app_password: None })
    }

    /// The user id that belongs to a login name or e-mail address and its login password.
    pub(crate) fn with_login_password(&self, login: &str, password: &str) -> Option<String> {
        let known_as = |id: &str, email: Option<&str>| {
            id.eq_ignore_ascii_case(login)
                || email.is_some_and(|email| email.eq_ignore_ascii_case(login))
        };
        let found = self.accounts.iter().find(|(id, account)| {
            known_as(id, account.email.as_deref()) && account.password == password
        });
        found.map(|(id, _)| id.clone())
    }
}

pub(crate) fn random(length: usize) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHJKLMNPQRSTWXYZabcdefgijkmnopqrstwxyz23456789";
    let mut rng = rand::rng();
    (0..length).map(|_| char::from(ALPHABET[rng.random_range(0..ALPHABET.len())])).collect()
}
