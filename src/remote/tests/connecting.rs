//! Finding the server, the account and the directory; what is said when that fails.

use std::sync::Mutex;

use super::*;

async fn refused(url: &str, credential: Credential) -> ConnectError {
    match connect(config(url.into(), "x"), Arc::new(credential)).await {
        Ok(_) => panic!("connected to {url}"),
        Err(error) => error,
    }
}

fn somebody() -> Credential {
    Credential { login_name: "somebody".into(), app_password: Secret::new("x") }
}

/// A server that answers every request with this.
async fn answering(answer: &'static str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    format!("http://{address}")
}

#[tokio::test]
async fn any_copied_address_finds_the_server_and_the_user() {
    let place = Place::any();
    for page in ["", "/", "/index.php/apps/files/?dir=/", "/remote.php/dav/files/x/", "/apps/files"]
    {
        let config = config(format!("{}{page}", place.url), "addresses");
        let remote = connect(config, Arc::new(place.credential.clone())).await.unwrap();
        assert_eq!(remote.connection.identity().origin, place.url);
        assert_eq!(remote.connection.identity().user_id, "alice");
        assert_eq!(remote.capabilities().vendor, Vendor::Nextcloud);
    }
}

#[tokio::test]
async fn a_missing_remote_directory_is_made_with_all_above_it_and_found_again() {
    let place = Place::any();
    let deep = ["remote-test", "made by connect", "caf\u{e9}"];
    for _ in 0..2 {
        let config = ConnectConfig { remote_dir: path(&deep), ..config(place.url.clone(), "x") };
        let remote = connect(config, Arc::new(place.credential.clone())).await.unwrap();
        assert!(remote.look(&RemotePath::root()).await.unwrap().entry.is_dir);
    }
}

#[tokio::test]
async fn a_remote_directory_that_is_a_file_is_refused() {
    let (place, remote) = remote().await;
    let name = format!("file-{:016x}", rand::random::<u64>());
    let config =
        ConnectConfig { remote_dir: path(&["remote-test"]), ..config(place.url.clone(), "x") };
    let above = connect(config.clone(), Arc::new(place.credential.clone())).await.unwrap();
    above.put(&path(&[&name]), upload("x", PutIf::Free, MTIME)).await.unwrap();
    let config = ConnectConfig { remote_dir: path(&["remote-test", &name]), ..config };
    let error = connect(config, Arc::new(place.credential.clone())).await.err().unwrap();
    assert!(matches!(error, ConnectError::NotADirectory { .. }), "{error}");
    drop(remote);
}

#[tokio::test]
async fn a_wrong_password_is_sent_once() {
    let place = Place::any();
    let wrong = Credential { app_password: Secret::new("wrong"), ..place.credential.clone() };
    let error = refused(&place.url, wrong).await;
    assert!(matches!(error, ConnectError::WrongPassword), "{error}");
    if let Some(cloud) = place.cloud {
        let refusals = cloud.requests().iter().filter(|one| one.status == Some(401)).count();
        assert_eq!(refusals, 1);
    }
}

#[tokio::test]
async fn maintenance_is_told_as_such() {
    let place = Place::own();
    place.cloud.as_ref().unwrap().set_maintenance(true);
    let error = refused(&place.url, place.credential).await;
    assert!(matches!(error, ConnectError::Maintenance { .. }) && error.is_transient(), "{error}");
}

#[tokio::test]
async fn a_port_where_nobody_listens_is_unreachable() {
    let error = refused("http://127.0.0.1:9", somebody()).await;
    assert!(matches!(error, ConnectError::Unreachable { .. }) && error.is_transient(), "{error}");
}

#[tokio::test]
async fn a_host_without_an_address_is_unknown() {
    let error = refused("https://cloud.invalid", somebody()).await;
    assert!(matches!(error, ConnectError::UnknownHost { .. }), "{error:?}");
}

#[tokio::test]
async fn plain_http_to_another_machine_is_refused_before_anything_is_sent() {
    let error = refused("http://cloud.example.org", somebody()).await;
    assert!(matches!(error, ConnectError::PlainHttp { .. }), "{error:?}");
}

#[tokio::test]
async fn another_web_server_is_nothing_to_mount() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}",
        "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    ] {
        let error = refused(&(answering(answer).await + "/deep/inside"), somebody()).await;
        assert!(matches!(error, ConnectError::NoServer { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn a_redirect_is_shown_and_not_followed() {
    let url = answering(
        "HTTP/1.1 301 Moved\r\nLocation: https://cloud.example.org/status.php\r\n\
         Content-Length: 0\r\nConnection: close\r\n\r\n",
    );
    let error = refused(&url.await, somebody()).await;
    assert!(
        matches!(&error, ConnectError::Redirected { to, .. } if to == "https://cloud.example.org"),
        "{error:?}"
    );
}

#[tokio::test]
async fn an_old_or_unfinished_server_is_told_as_such() {
    let old = answering(
        "HTTP/1.1 200 OK\r\nContent-Length: 43\r\nConnection: close\r\n\r\n\
         {\"installed\":true,\"versionstring\":\"20.0.1\"}",
    );
    let error = refused(&old.await, somebody()).await;
    assert!(matches!(error, ConnectError::TooOld { .. }), "{error:?}");
    let raw = answering(
        "HTTP/1.1 200 OK\r\nContent-Length: 19\r\nConnection: close\r\n\r\n{\"installed\":false}",
    );
    let error = refused(&raw.await, somebody()).await;
    assert!(matches!(error, ConnectError::NotInstalled { .. }), "{error:?}");
}

#[tokio::test]
async fn an_encrypted_connection_to_a_plain_port_says_so() {
    let url = answering("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
    let error = refused(&url.replace("http:", "https:"), somebody()).await;
    assert!(matches!(error, ConnectError::Tls { .. }), "{error:?}");
}

#[tokio::test]
async fn a_ca_file_that_cannot_be_used_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let empty = dir.path().join("empty.pem");
    std::fs::write(&empty, "").unwrap();
    for ca_file in [empty, dir.path().join("missing.pem")] {
        let config = ConnectConfig {
            ca_file: Some(ca_file.clone()),
            ..config("https://127.0.0.1:9".into(), "x")
        };
        let error = connect(config, Arc::new(somebody())).await.err().unwrap();
        let text = error.to_string();
        assert!(text.contains(ca_file.to_str().unwrap()) && text.contains("--ca-file"), "{text}");
    }
}

/// A credential that can be changed.
struct Changing(Mutex<Credential>);

impl CredentialSource for Changing {
    fn current(&self) -> Credential {
        self.0.lock().unwrap().clone()
    }
}

#[tokio::test]
async fn a_revoked_password_is_not_sent_again_until_it_changes() {
    let place = Place::own();
    let cloud = place.cloud.as_ref().unwrap();
    let source = Arc::new(Changing(Mutex::new(place.credential.clone())));
    let remote = connect(config(place.url.clone(), "x"), source.clone()).await.unwrap();
    assert!(cloud.revoke(place.credential.app_password.expose()));
    cloud.reset_requests();
    for _ in 0..20 {
        let error = remote.look(&RemotePath::root()).await.unwrap_err();
        assert!(matches!(error, RemoteError::Unauthorized), "{error:?}");
    }
    assert_eq!(cloud.requests().len(), 1);
    let app_password = Secret::new(cloud.add_app_password("alice"));
    *source.0.lock().unwrap() = Credential { app_password, ..place.credential.clone() };
    remote.look(&RemotePath::root()).await.unwrap();
}

#[tokio::test]
async fn a_refused_password_is_tried_once_more_on_demand() {
    let place = Place::own();
    let cloud = place.cloud.as_ref().unwrap();
    let remote = place.remote().await;
    cloud.revoke(place.credential.app_password.expose());
    remote.look(&RemotePath::root()).await.unwrap_err();
    cloud.reset_requests();
    remote.retry_login();
    for _ in 0..3 {
        remote.look(&RemotePath::root()).await.unwrap_err();
    }
    assert_eq!(cloud.requests().len(), 1);
}
