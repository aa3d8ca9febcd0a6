use futures_util::StreamExt;
use reqwest::Url;

use super::*;
use crate::types::Name;

fn path(names: &[&str]) -> RemotePath {
    RemotePath(names.iter().map(|name| Name::new(name.as_bytes()).unwrap()).collect())
}

fn root() -> Root {
    Root::new(&Url::parse("https://h.org").unwrap(), path(&["dav", "alice"]).0)
}

/// The entries of a listing of `at` whose answer has these hrefs; a slash at the end makes a
/// directory of one byte.
async fn entries(at: &[&str], depth: Depth, hrefs: &[&str]) -> Vec<Result<Entry>> {
    let responses: String = hrefs.iter().map(|href| response(href, 1)).collect();
    read(at, depth, &responses).await
}

fn response(href: &str, size: u64) -> String {
    let kind = if href.ends_with('/') { "<collection/>" } else { "" };
    format!(
        "<response><href>{href}</href><propstat><prop><resourcetype>{kind}</resourcetype>\
         <oc:size>{size}</oc:size></prop><status>HTTP/1.1 200 OK</status></propstat></response>"
    )
}

async fn read(at: &[&str], depth: Depth, responses: &str) -> Vec<Result<Entry>> {
    let body = format!(
        "<multistatus xmlns=\"DAV:\" xmlns:oc=\"http://owncloud.org/ns\">{responses}</multistatus>"
    );
    let body = stream::iter([Ok(Bytes::from(body))]).boxed();
    Entries::new(body, root(), Vocabulary::Cloud, path(at), depth).into_stream().collect().await
}

fn paths(entries: Vec<Result<Entry>>) -> Result<Vec<String>> {
    entries.into_iter().map(|entry| Ok(entry?.path.to_string())).collect()
}

#[tokio::test]
async fn what_is_not_below_the_listed_directory_is_left_out() {
    let hrefs = [
        "/dav/alice/d/",
        "/dav/alice/d/x",
        "/dav/alice/other",
        "/dav/bob/d/y",
        "/dav/alice/d/../z",
        "/dav/alice/d/deep/x",
        "https://elsewhere.org/dav/alice/d/y",
    ];
    let found = entries(&["d"], Depth::Children, &hrefs).await;
    assert_eq!(paths(found).unwrap(), ["/d", "/d/x", "/d/y"]);
}

#[tokio::test]
async fn entries_are_under_the_spelling_that_was_asked_for() {
    let hrefs = ["/dav/alice/caf%c3%a9/", "/dav/alice/caf%c3%a9/x"];
    let found = entries(&["cafe\u{301}"], Depth::Children, &hrefs).await;
    assert_eq!(paths(found).unwrap(), ["/cafe\u{301}", "/cafe\u{301}/x"]);
}

#[tokio::test]
async fn a_listing_without_the_directory_itself_is_an_error_at_its_end() {
    let found = entries(&["d"], Depth::Children, &["/proxy/dav/alice/d/"]).await;
    assert!(matches!(found[..], [Err(RemoteError::Protocol(_))]));
}

#[tokio::test]
async fn a_listing_of_a_file_says_so() {
    let found = entries(&["d"], Depth::Children, &["/dav/alice/d"]).await;
    assert!(matches!(found[..], [Err(RemoteError::NotADirectory)]));
}

#[tokio::test]
async fn an_answer_of_one_level_does_not_pass_for_everything() {
    let hrefs = ["/dav/alice/", "/dav/alice/d/", "/dav/alice/f"];
    let found = entries(&[], Depth::Everything, &hrefs).await;
    assert!(matches!(found.last(), Some(Err(RemoteError::Protocol(_)))));
    let deep = ["/dav/alice/", "/dav/alice/d/", "/dav/alice/d/f"];
    assert!(paths(entries(&[], Depth::Everything, &deep).await).is_ok());
    let empty = format!("{}{}", response("/dav/alice/", 0), response("/dav/alice/d/", 0));
    assert!(paths(read(&[], Depth::Everything, &empty).await).is_ok());
}

#[tokio::test]
async fn an_entry_that_is_gone_or_not_ours_is_left_out() {
    let gone = "<response><href>/dav/alice/x</href><status>HTTP/1.1 404 Not Found</status>\
        </response><response><href>/dav/alice/y</href><propstat><prop><getetag/></prop>\
        <status>HTTP/1.1 404 Not Found</status></propstat></response>";
    let found = read(&[], Depth::Children, &(response("/dav/alice/", 0) + gone)).await;
    assert_eq!(paths(found).unwrap(), ["/"]);
}

#[tokio::test]
async fn a_file_listed_without_a_checksum_is_known_to_have_none() {
    let found = entries(&[], Depth::Children, &["/dav/alice/", "/dav/alice/f"]).await;
    let checksums: Vec<_> = found.into_iter().map(|one| one.unwrap().version.checksum).collect();
    assert_eq!(checksums, [None, Some(None)]);
}
