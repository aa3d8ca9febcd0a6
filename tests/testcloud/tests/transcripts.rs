//! Replays the exchanges recorded with a real Nextcloud 32 against a fresh testcloud.
//!
//! The clock of the server is set to the recorded `Date` before each exchange, so that times and the
//! tags that depend on them behave as they did. What stands before an exchange, and was not recorded,
//! is made by [`Stage::prepare`].

#![allow(clippy::unwrap_used, reason = "a test may panic anywhere")]

mod support;

use support::compare::{Leave, compare};
use support::stage::Stage;
use support::transcript;

/// Transcripts of what testcloud does not do.
const NOT_REPLAYED: &[(&str, &str)] = &[
    ("bulk-upload", "not implemented, nor announced"),
    ("bulk-upload-errors", "not implemented, nor announced"),
    ("folder-archive", "folders cannot be downloaded as archives"),
    ("oauth2", "not implemented yet"),
    ("propfind-paginate", "not implemented, nor announced"),
    ("search-lastmodified", "not implemented, nor announced"),
    ("share-create", "only a test makes shares"),
    ("trashbin", "what is deleted is gone"),
];

/// Parts of single exchanges that are not compared, and why.
const LEFT: &[(&str, usize, Leave, &str)] = &[
    ("app-password", 2, Leave::Json("/ocs/data/apppassword"), "a secret"),
    ("app-password", 3, Leave::Json("/ocs/data/apppassword"), "a secret"),
    ("auth-401", 5, Leave::Property("getlastmodified"), OTHER_TIMES),
    ("auth-401", 5, Leave::Property("size"), OTHER_TIMES),
    ("auth-email", 1, Leave::Property("getlastmodified"), OTHER_TIMES),
    ("auth-email", 1, Leave::Property("size"), OTHER_TIMES),
    ("auth-email", 2, Leave::Json("/ocs/data/quota/used"), OTHER_TIMES),
    ("capabilities", 1, Leave::Header("etag"), "OCS answers have no tags here"),
    ("capabilities", 1, Leave::Json("/ocs/data/capabilities/app_api"), "cut out of the transcript"),
    ("capabilities", 1, Leave::Json("/ocs/data/capabilities/theming"), "cut out of the transcript"),
    ("capabilities", 1, Leave::Json("/ocs/data/capabilities/files/undelete"), "no trash"),
    ("capabilities", 1, Leave::Json("/ocs/data/capabilities/files/delete_from_trash"), "no trash"),
    (
        "capabilities",
        1,
        Leave::Json("/ocs/data/capabilities/files/version_deletion"),
        "versions are only read",
    ),
    (
        "capabilities",
        1,
        Leave::Json("/ocs/data/capabilities/files/version_labeling"),
        "versions are only read",
    ),
    ("capabilities-anonymous", 1, Leave::Header("etag"), "OCS answers have no tags here"),
    (
        "chunked-upload-errors",
        28,
        Leave::Property("getlastmodified"),
        "the folder of all uploads has no time of its own",
    ),
    ("cookie-wins", 1, Leave::Body, "cut in the transcript; X-User-Id tells who it was"),
    ("lock", 2, Leave::Exchange, "no fake locks for the Finder"),
    (
        "locked-423",
        10,
        Leave::Message,
        "how many shared locks a PUT holds is the server's business",
    ),
    (
        "locked-423",
        20,
        Leave::Message,
        "how many shared locks a PUT holds is the server's business",
    ),
    ("login-flow-v2", 1, Leave::Json("/poll/token"), "a secret"),
    ("login-flow-v2", 1, Leave::Json("/login"), "a secret"),
    ("login-flow-v2", 5, Leave::Header("set-cookie"), BROWSER),
    ("login-flow-v2", 5, Leave::Body, BROWSER),
    ("login-flow-v2", 7, Leave::Header("set-cookie"), BROWSER),
    ("login-flow-v2", 7, Leave::Body, BROWSER),
    ("login-flow-v2", 8, Leave::Header("set-cookie"), BROWSER),
    ("login-flow-v2", 9, Leave::Header("set-cookie"), BROWSER),
    ("login-flow-v2", 9, Leave::Body, BROWSER),
    ("login-flow-v2", 10, Leave::Header("set-cookie"), BROWSER),
    ("login-flow-v2", 10, Leave::Body, BROWSER),
    ("login-flow-v2", 11, Leave::Json("/appPassword"), "a secret"),
    ("maintenance-503", 5, Leave::Body, "a page for browsers"),
    ("maintenance-503", 5, Leave::Header("set-cookie"), "a page for browsers"),
    ("propfind-errors", 2, Leave::Message, "the words of another XML parser"),
    (
        "put-interrupted",
        6,
        Leave::Exchange,
        "the repaired file is in the list of versions but cannot be read as one",
    ),
    ("quota-507", 1, Leave::Property("quota-used-bytes"), OTHER_TIMES),
    ("share-permissions", 1, Leave::Property("sharees"), "only the permissions are told"),
    ("share-permissions", 2, Leave::Property("sharees"), "only the permissions are told"),
    ("versions", 3, Leave::Exchange, "versions are only read"),
    ("versions", 4, Leave::Exchange, "versions are only read"),
    ("versions", 5, Leave::Property("version-label"), "versions are only read"),
];

const BROWSER: &str = "a page for browsers, which keep another session";
const OTHER_TIMES: &str = "depends on what else was in the account";

/// Exchanges that were carried out in the second before their answer's date.
const A_SECOND_EARLIER: &[(&str, usize)] = &[("put-odd", 10)];

macro_rules! replayed {
    ($($test:ident: $name:literal),+ $(,)?) => {
        const REPLAYED: &[&str] = &[$($name),+];
        $(#[test] fn $test() { replay($name); })+
    };
}

replayed! {
    app_password: "app-password",
    atomic_save: "atomic-save",
    auth_401: "auth-401",
    auth_email: "auth-email",
    capabilities: "capabilities",
    capabilities_anonymous: "capabilities-anonymous",
    chunked_append: "chunked-append",
    chunked_upload: "chunked-upload",
    chunked_upload_errors: "chunked-upload-errors",
    cookie_wins: "cookie-wins",
    copy: "copy",
    copy_large: "copy-large",
    delete: "delete",
    etag_trap: "etag-trap",
    get_conditional: "get-conditional",
    get_gzip: "get-gzip",
    get_range: "get-range",
    get_zero: "get-zero",
    head_traps: "head-traps",
    lock: "lock",
    locked_423: "locked-423",
    login_flow_v2: "login-flow-v2",
    maintenance_503: "maintenance-503",
    mkcol: "mkcol",
    move_: "move",
    names_encoding: "names-encoding",
    names_nfd: "names-nfd",
    names_refused: "names-refused",
    principal: "principal",
    propfind_allprop: "propfind-allprop",
    propfind_depth_infinity: "propfind-depth-infinity",
    propfind_dir_all: "propfind-dir-all",
    propfind_dir_fs: "propfind-dir-fs",
    propfind_errors: "propfind-errors",
    propfind_file_all: "propfind-file-all",
    propfind_prefer_minimal: "propfind-prefer-minimal",
    propfind_root: "propfind-root",
    proppatch_dead: "proppatch-dead",
    proppatch_limits: "proppatch-limits",
    proppatch_mtime: "proppatch-mtime",
    put_auto_mkcol: "put-auto-mkcol",
    put_checksum: "put-checksum",
    put_conditional: "put-conditional",
    put_create_overwrite: "put-create-overwrite",
    put_interrupted: "put-interrupted",
    put_mtime: "put-mtime",
    put_odd: "put-odd",
    quota_507: "quota-507",
    report: "report",
    share_permissions: "share-permissions",
    status: "status",
    trailing_slash: "trailing-slash",
    user_info: "user-info",
    versions: "versions",
}

#[test]
fn every_transcript_is_replayed_or_left_out_with_a_reason() {
    let mut listed: Vec<String> = REPLAYED
        .iter()
        .chain(NOT_REPLAYED.iter().map(|(name, _)| name))
        .map(|name| format!("{name}.http"))
        .collect();
    listed.sort();
    let mut there: Vec<String> = std::fs::read_dir(transcript::directory())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".http"))
        .collect();
    there.sort();
    assert_eq!(listed, there);
}

fn replay(name: &str) {
    let mut stage = Stage::new(name);
    let mut differences = Vec::new();
    for (exchange, number) in transcript::read(name).iter().zip(1..) {
        let leave: Vec<Leave> = LEFT
            .iter()
            .filter(|(transcript, n, ..)| *transcript == name && (*n == number || *n == 0))
            .map(|(_, _, leave, _)| *leave)
            .collect();
        let earlier = i64::from(A_SECOND_EARLIER.contains(&(name, number)));
        stage.set_clock(exchange, earlier);
        stage.prepare(name, number);
        if leave.contains(&Leave::Exchange) {
            continue;
        }
        let answer = stage.send(name, number, &exchange.request);
        let found = compare(exchange, &answer, &mut stage.known, &leave);
        differences.extend(found.iter().map(|d| format!("{name} {number}: {d}")));
    }
    assert!(differences.is_empty(), "\n{}", differences.join("\n"));
}
