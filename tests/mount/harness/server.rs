//! What the server holds, as another client sees it: plain HTTP, nothing of ncfs.

use std::collections::BTreeMap;
use std::path::Path;

use testcloud::Testcloud;

use super::{Fixture, USER};

impl Fixture {
    /// Downloads a file over HTTP; `None` if there is none.
    #[track_caller]
    pub fn download(&self, path: &str) -> Option<Vec<u8>> {
        let url = format!("{}{path}", self.cloud().files_url(USER));
        let answer = async {
            let request = reqwest::Client::new().get(&url).basic_auth(USER, Some(&self.password));
            let answer = request.send().await?;
            let status = answer.status();
            Ok::<_, reqwest::Error>((status, answer.bytes().await?))
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (status, body) = runtime.block_on(answer).unwrap();
        match status.as_u16() {
            200 => Some(body.to_vec()),
            404 => None,
            status => panic!("GET {url}: {status}"),
        }
    }

    /// All paths on the server below a directory, with the contents of files; `None` is a folder.
    pub fn server_tree(&self, below: &str) -> BTreeMap<String, Option<Vec<u8>>> {
        let entries = self.cloud().tree(USER).into_iter();
        entries
            .filter_map(|(path, entry)| {
                let rest = path.strip_prefix(below)?.trim_start_matches('/').to_owned();
                let content = (!entry.is_folder).then(|| read(&self.cloud(), &path));
                (!rest.is_empty()).then_some((rest, content))
            })
            .collect()
    }

    /// The file id on the server.
    #[track_caller]
    pub fn file_id(&self, path: &str) -> u64 {
        self.cloud().file_id(USER, path).unwrap_or_else(|| panic!("the server has no {path}"))
    }

    /// Writes as another client does.
    #[track_caller]
    pub fn upload(&self, path: &str, content: &[u8]) {
        self.cloud().put_file(USER, path, content, None).unwrap();
    }

    /// Requests of the program since the last `reset_requests` that are neither looks nor polls.
    pub fn changes_sent(&self) -> Vec<String> {
        let looks = ["PROPFIND", "GET", "HEAD", "OPTIONS", "REPORT"];
        let requests = self.cloud().requests().into_iter();
        requests
            .filter(|request| !looks.contains(&request.method.as_str()))
            .map(|request| format!("{} {} {:?}", request.method, request.path, request.status))
            .collect()
    }
}

fn read(cloud: &Testcloud, path: &str) -> Vec<u8> {
    cloud.read_file(USER, path).unwrap()
}

/// All paths of a directory on the disk or in a mount, as [`Fixture::server_tree`] gives them.
pub fn local_tree(directory: &Path) -> BTreeMap<String, Option<Vec<u8>>> {
    fn walk(root: &Path, at: &Path, into: &mut BTreeMap<String, Option<Vec<u8>>>) {
        for entry in std::fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            let is_directory = path.symlink_metadata().unwrap().is_dir();
            into.insert(name, (!is_directory).then(|| std::fs::read(&path).unwrap()));
            if is_directory {
                walk(root, &path, into);
            }
        }
    }
    let mut tree = BTreeMap::new();
    walk(directory, directory, &mut tree);
    tree
}
