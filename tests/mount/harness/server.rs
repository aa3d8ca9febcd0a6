//! What the server holds, as another client sees it: plain HTTP or its disk, nothing of ncfs.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use testcloud::Testcloud;

use super::{Fixture, USER};

/// Which server a person has an account on.
pub enum Server {
    /// A small Nextcloud, whose faults can be chosen and whose requests can be counted.
    Cloud(Testcloud),
    /// A plain WebDAV server that others wrote, with its files on the disk.
    Plain(servers::Server),
}

impl Fixture {
    /// What is given as the address.
    pub fn url(&self) -> String {
        match &*self.server.borrow() {
            Server::Cloud(cloud) => cloud.url(),
            Server::Plain(server) => server.url(),
        }
    }

    /// A path on the disk of a plain server.
    fn on_disk(server: &servers::Server, path: &str) -> PathBuf {
        server.files().join(path.trim_start_matches('/'))
    }

    /// Downloads a file over HTTP; `None` if there is none.
    #[track_caller]
    pub fn download(&self, path: &str) -> Option<Vec<u8>> {
        let base = match &*self.server.borrow() {
            Server::Cloud(cloud) => cloud.files_url(USER),
            Server::Plain(server) => server.url(),
        };
        let url = format!("{base}{path}");
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
        match &*self.server.borrow() {
            Server::Cloud(cloud) => {
                let entries = cloud.tree(USER).into_iter();
                entries
                    .filter_map(|(path, entry)| {
                        let rest = path.strip_prefix(below)?.trim_start_matches('/').to_owned();
                        let content = (!entry.is_folder).then(|| read(cloud, &path));
                        (!rest.is_empty()).then_some((rest, content))
                    })
                    .collect()
            }
            Server::Plain(server) => {
                let mut tree = local_tree(&Self::on_disk(server, below));
                // Where ncfs lets uploads gather, and where Apache keeps notes of its own.
                let ours = |path: &String| !path.starts_with(UPLOADS);
                assert!(tree.keys().filter(|path| !ours(path)).count() <= 1, "{:?}", tree.keys());
                tree.retain(|path, _| ours(path) && !path.split('/').any(|name| name == ".DAV"));
                tree
            }
        }
    }

    /// What stays the same of a file as long as it is the same for the server: its id. `None` where
    /// files have none.
    #[track_caller]
    pub fn file_id(&self, path: &str) -> Option<u64> {
        match &*self.server.borrow() {
            Server::Cloud(cloud) => {
                let id = cloud.file_id(USER, path);
                Some(id.unwrap_or_else(|| panic!("the server has no {path}")))
            }
            Server::Plain(_) => None,
        }
    }

    /// Writes as another client does.
    #[track_caller]
    pub fn upload(&self, path: &str, content: &[u8]) {
        match &*self.server.borrow() {
            Server::Cloud(cloud) => cloud.put_file(USER, path, content, None).unwrap(),
            Server::Plain(server) => server.write(path.trim_start_matches('/'), content).unwrap(),
        }
    }

    /// Whether files get their own times there.
    pub fn sets_mtime(&self) -> bool {
        match &*self.server.borrow() {
            Server::Cloud(_) => true,
            Server::Plain(server) => server.kind() == servers::Kind::NewestRclone,
        }
    }

    /// The different modification times of all files there, seconds since the epoch.
    pub fn mtimes(&self) -> Vec<i64> {
        let mut times: Vec<i64> = match &*self.server.borrow() {
            Server::Cloud(cloud) => {
                let entries = cloud.tree(USER).into_values();
                entries.filter(|entry| !entry.is_folder).map(|entry| entry.mtime).collect()
            }
            Server::Plain(server) => {
                let files = local_tree(&server.files()).into_iter();
                let files = files.filter_map(|(path, content)| content.map(|_| path));
                files.map(|path| server.files().join(path).metadata().unwrap().mtime()).collect()
            }
        };
        times.sort_unstable();
        times.dedup();
        times
    }

    /// Makes a directory as another client does.
    #[track_caller]
    pub fn make_dir(&self, path: &str) {
        match &*self.server.borrow() {
            Server::Cloud(cloud) => cloud.make_folder(USER, path).unwrap(),
            Server::Plain(server) => server.make_dir(path.trim_start_matches('/')).unwrap(),
        }
    }

    /// Renames as another client does.
    #[track_caller]
    pub fn rename(&self, from: &str, to: &str) {
        match &*self.server.borrow() {
            Server::Cloud(cloud) => cloud.rename(USER, from, to).unwrap(),
            Server::Plain(server) => {
                fs::rename(Self::on_disk(server, from), Self::on_disk(server, to)).unwrap();
                server.settle();
            }
        }
    }

    /// Deletes as another client does.
    #[track_caller]
    pub fn delete(&self, path: &str) {
        match &*self.server.borrow() {
            Server::Cloud(cloud) => cloud.delete(USER, path).unwrap(),
            Server::Plain(server) => {
                let path = Self::on_disk(server, path);
                let is_dir = path.is_dir();
                if is_dir { fs::remove_dir_all(path) } else { fs::remove_file(path) }.unwrap();
                server.settle();
            }
        }
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

/// The directory in which uploads to plain servers gather.
const UPLOADS: &str = ".ncfs-uploads";

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
