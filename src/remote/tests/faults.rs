//! What a bad network or a server in trouble does to single requests.

use super::*;

/// A remote on a server of our own, with one fault at the next request that matches.
async fn spoilt(fault: Fault) -> (Place, Reach) {
    let place = Place::own();
    let remote = place.remote().await;
    remote.put(&path(&["f"]), upload("0123456789", PutIf::Free, MTIME)).await.unwrap();
    let cloud = place.cloud.as_ref().unwrap();
    cloud.reset_requests();
    cloud.fault(fault).unwrap();
    (place, remote)
}

fn count(place: &Place, method: &str) -> usize {
    let requests = place.cloud.as_ref().unwrap().requests();
    requests.iter().filter(|request| request.method == method).count()
}

fn big(size: usize) -> Bytes {
    vec![7; size].into()
}

/// A condition on what stands at `f`.
async fn held(remote: &dyn Remote) -> PutIf {
    let version = remote.look(&path(&["f"])).await.unwrap().entry.version;
    PutIf::Holds(version.etag.unwrap())
}

#[tokio::test]
async fn a_lost_answer_to_a_change_is_an_unknown_outcome_and_is_not_repeated() {
    for (method, action) in [("PUT", Action::HangUpAfter), ("PUT", Action::HangUpBefore)] {
        let (place, remote) = spoilt(Fault::on(method, "").action(action)).await;
        let error = remote.put(&path(&["g"]), upload("x", PutIf::Free, MTIME)).await.unwrap_err();
        assert!(error.outcome_unknown(), "{error:?}");
        assert_eq!(count(&place, "PUT"), 1);
    }
    let (place, remote) = spoilt(Fault::on("DELETE", "").action(Action::HangUpAfter)).await;
    let error = remote.delete(&path(&["f"]), None).await.unwrap_err();
    assert!(error.outcome_unknown(), "{error:?}");
    assert_eq!(count(&place, "DELETE"), 1);
    assert!(matches!(remote.look(&path(&["f"])).await, Err(RemoteError::NotFound)));
}

#[tokio::test]
async fn a_read_is_repeated_when_its_answer_is_lost_or_the_file_locked() {
    for action in [Action::HangUpBefore, answer(423), answer(502), answer(503), answer(504)] {
        let (place, remote) = spoilt(Fault::on("GET", "/f$").times(2).action(action)).await;
        assert_eq!(content(&*remote, &path(&["f"])).await.unwrap(), "0123456789");
        assert_eq!((count(&place, "GET"), remote.connection.metrics().repeated), (3, 2));
    }
}

fn answer(status: u16) -> Action {
    Action::Answer { status, headers: Default::default(), body: String::new() }
}

#[tokio::test]
async fn a_server_that_asks_to_wait_is_left_alone() {
    let headers = [("Retry-After".to_owned(), "120".to_owned())].into();
    let action = Action::Answer { status: 503, headers, body: String::new() };
    let (place, remote) = spoilt(Fault::on("PROPFIND", "").forever().action(action)).await;
    let error = remote.look(&path(&["f"])).await.unwrap_err();
    assert_eq!(error.retry_after(), Some(std::time::Duration::from_secs(120)), "{error:?}");
    assert_eq!(count(&place, "PROPFIND"), 1);
    let (place, remote) = spoilt(Fault::on("*", "").forever().action(answer(429))).await;
    let error = remote.look(&path(&["f"])).await.unwrap_err();
    assert!(matches!(error, RemoteError::TooManyRequests { .. }), "{error:?}");
    assert_eq!(count(&place, "PROPFIND"), 1);
}

#[tokio::test]
async fn a_listing_that_is_cut_anywhere_is_an_error() {
    for bytes in [0, 30, 200, 400] {
        let cut = Fault::on("PROPFIND", "").forever().action(Action::CutResponse { bytes });
        let (_place, remote) = spoilt(cut).await;
        let outcome = listed(&*remote, &RemotePath::root(), Depth::Children).await;
        assert!(outcome.is_err(), "{bytes}: {outcome:?}");
    }
}

#[tokio::test]
async fn a_download_that_is_cut_is_an_error() {
    let cut = Fault::on("GET", "").forever().action(Action::CutResponse { bytes: 4 });
    let (_place, remote) = spoilt(cut).await;
    let outcome = content(&*remote, &path(&["f"])).await;
    assert!(matches!(outcome, Err(RemoteError::NoAnswer(_))), "{outcome:?}");
}

#[tokio::test]
async fn an_answer_without_a_tag_gives_a_version_without_one() {
    let (_place, remote) = spoilt(Fault::on("PUT", "").action(Action::Etag { value: None })).await;
    let at = path(&["g"]);
    let written = remote.put(&at, upload("x", PutIf::Free, MTIME)).await.unwrap();
    assert_eq!(written.etag, None);
    assert!(remote.look(&at).await.unwrap().entry.version.agrees(&written));
}

#[tokio::test]
async fn a_lost_part_is_sent_again() {
    let lost = Fault::on("PUT", "/uploads/").action(Action::CutRequest { bytes: 1000 });
    let (place, remote) = spoilt(lost).await;
    let held = held(&*remote).await;
    let content_before = big(100_000);
    remote.put(&path(&["f"]), upload(content_before.clone(), held, MTIME + 1)).await.unwrap();
    assert!(content(&*remote, &path(&["f"])).await.unwrap() == content_before);
    assert_eq!(count(&place, "PUT"), 2);
}

#[tokio::test]
async fn a_part_that_is_refused_ends_the_upload_and_deletes_its_folder() {
    let (place, remote) = spoilt(Fault::on("PUT", "/uploads/").action(answer(507))).await;
    let held = held(&*remote).await;
    let error = remote.put(&path(&["f"]), upload(big(100_000), held, MTIME)).await.unwrap_err();
    assert!(matches!(error, RemoteError::Full(_)), "{error:?}");
    assert_eq!(content(&*remote, &path(&["f"])).await.unwrap(), "0123456789");
    no_uploads(&place).await;
}

#[tokio::test]
async fn an_upload_that_is_dropped_deletes_its_folder() {
    let slow = Fault::on("PUT", "/uploads/").delay(std::time::Duration::from_secs(600));
    let (place, remote) = spoilt(slow).await;
    let held = held(&*remote).await;
    let file = path(&["f"]);
    let putting = remote.put(&file, upload(big(100_000), held, MTIME));
    let started = async {
        while place.cloud.as_ref().unwrap().open_uploads("alice").is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        _ = putting => panic!("it cannot have ended"),
        () = started => {}
    }
    no_uploads(&place).await;
}

/// Waits until the server has no upload folder left.
async fn no_uploads(place: &Place) {
    let gone = async {
        while !place.cloud.as_ref().unwrap().open_uploads("alice").is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), gone).await.unwrap();
}

#[tokio::test]
async fn an_assembly_without_an_answer_is_an_unknown_outcome() {
    for action in [Action::HangUpAfter, answer(504)] {
        let (place, remote) = spoilt(Fault::on("MOVE", "").action(action)).await;
        let held = held(&*remote).await;
        let error = remote.put(&path(&["f"]), upload(big(100_000), held, MTIME)).await.unwrap_err();
        assert!(error.outcome_unknown(), "{error:?}");
        assert_eq!((count(&place, "MOVE"), count(&place, "DELETE")), (1, 0));
    }
}

#[tokio::test]
async fn a_locked_target_of_an_assembly_leaves_no_folder() {
    let (place, remote) = spoilt(Fault::on("MOVE", "").action(answer(423))).await;
    let held = held(&*remote).await;
    let error = remote.put(&path(&["f"]), upload(big(100_000), held, MTIME)).await.unwrap_err();
    assert!(matches!(error, RemoteError::Locked), "{error:?}");
    no_uploads(&place).await;
}

#[tokio::test]
async fn a_full_account_is_told_before_anything_is_visible() {
    let place = Place::own();
    let remote = place.remote().await;
    place.cloud.as_ref().unwrap().set_quota("alice", Some(1000));
    assert_eq!(remote.quota().await.unwrap().available, Some(1000));
    let at = path(&["g"]);
    let error = remote.put(&at, upload(big(2000), PutIf::Free, MTIME)).await.unwrap_err();
    assert!(matches!(error, RemoteError::Full(_)), "{error:?}");
    assert!(matches!(remote.look(&at).await, Err(RemoteError::NotFound)));
}

#[tokio::test]
async fn a_server_that_is_gone_is_offline_and_comes_back() {
    let mut place = Place::own();
    let remote = place.remote().await;
    place.cloud.as_mut().unwrap().stop();
    let error = remote.put(&path(&["g"]), upload("x", PutIf::Free, MTIME)).await.unwrap_err();
    assert!(error.is_offline(), "{error:?}");
    let error = remote.look(&path(&["g"])).await.unwrap_err();
    assert!(matches!(error, RemoteError::Offline(_)), "{error:?}");
    assert_eq!(error.to_string(), "the server cannot be reached: Connection refused");
    place.cloud.as_mut().unwrap().restart().unwrap();
    remote.put(&path(&["g"]), upload("x", PutIf::Free, MTIME)).await.unwrap();
}

#[tokio::test]
async fn maintenance_reaches_the_caller() {
    let (place, remote) = spoilt(Fault::on("PATCH", "")).await;
    place.cloud.as_ref().unwrap().set_maintenance(true);
    let error = remote.look(&path(&["f"])).await.unwrap_err();
    assert!(matches!(error, RemoteError::Unavailable { maintenance: true, .. }), "{error:?}");
}
