//! What a PROPFIND lists: files, uploads, versions, and the roots that are not one's own.

use quick_xml::escape::escape;

use super::conditions::format_date;
use super::properties::{self, Home, content_type, principal};
use super::{Call, DAV_BASE, Target};
use crate::cloud::{Account, State};
use crate::error::DavError;
use crate::path::{FilePath, encode};
use crate::shares::Share;
use crate::stamps::file_tag;
use crate::tree::{Missing, Node, NodeId, Tree};
use crate::uploads::{JOINED, Upload};
use crate::xml::{DAV, NC, Name};

/// How deep a PROPFIND looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Depth {
    pub levels: Levels,
    /// `1,noroot` leaves the resource itself out.
    pub root: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Levels {
    Itself,
    Children,
    All,
}

impl Depth {
    /// No header is 1 on this server, and any other number is infinity (FACTS 2).
    pub(super) fn parse(header: Option<&str>) -> Self {
        let (levels, root) = match header {
            Some(value) => match value.split_once(',') {
                Some((levels, "noroot")) => (levels, false),
                _ => (value, true),
            },
            None => ("1", true),
        };
        let levels = match levels {
            "0" => Levels::Itself,
            "1" => Levels::Children,
            _ => Levels::All,
        };
        Self { levels, root }
    }
}

/// One `d:response` to be.
pub(super) struct Resource<'a> {
    pub href: String,
    pub kind: Kind<'a>,
}

pub(super) enum Kind<'a> {
    File {
        node: &'a Node,
        /// As the caller has it.
        path: FilePath,
        tag: String,
        /// The caller's own files, which hold the dead properties.
        own: &'a Tree,
        home: Home<'a>,
    },
    /// A collection with what little is known about it.
    Collection {
        mtime: Option<i64>,
    },
    Top {
        user: &'a str,
    },
    /// A part of an upload, or all of them joined.
    Part {
        size: u64,
        mtime: i64,
        etag: String,
    },
    /// The versions of a file answer few questions about themselves.
    Versions,
    Version {
        size: u64,
        mtime: i64,
        name: &'a str,
        author: &'a str,
    },
}

impl Resource<'_> {
    /// The value as XML.
    pub(super) fn property(&self, name: &Name) -> Option<String> {
        let is = |local| name.is(DAV, local);
        match &self.kind {
            Kind::File { tag, .. } if is("getetag") => Some(format!("&quot;{}&quot;", escape(tag))),
            Kind::File { path, .. } if is("displayname") && !path.is_root() => {
                Some(escape(path.name()).into_owned())
            }
            Kind::File { node, path, own, home, .. } => {
                properties::live(name, node, *home).or_else(|| own.dead(path)?.get(name).cloned())
            }
            Kind::Collection { mtime } => match name.local.as_str() {
                "resourcetype" if is("resourcetype") => Some("<d:collection/>".to_owned()),
                "getlastmodified" if is("getlastmodified") => mtime.map(format_date),
                _ => None,
            },
            Kind::Top { user } if is("current-user-principal") => Some(principal(user)),
            Kind::Versions | Kind::Top { .. } => {
                is("resourcetype").then(|| "<d:collection/>".to_owned())
            }
            Kind::Part { size, mtime, etag } => {
                if is("getetag") {
                    return Some(format!("&quot;{etag}&quot;"));
                }
                leaf(name, *size, *mtime)
            }
            Kind::Version { size, mtime, name: file_name, author } => {
                if is("getetag") {
                    return Some(mtime.to_string());
                }
                if is("getcontenttype") {
                    return Some(content_type(file_name).to_owned());
                }
                if name.is(NC, "version-author") {
                    return Some((*author).to_owned());
                }
                leaf(name, *size, *mtime)
            }
        }
    }
}

fn leaf(name: &Name, size: u64, mtime: i64) -> Option<String> {
    match name.local.as_str() {
        _ if name.ns != DAV => None,
        "getcontentlength" => Some(size.to_string()),
        "getlastmodified" => Some(format_date(mtime)),
        "resourcetype" => Some(String::new()),
        _ => None,
    }
}

/// The target of a call and what is below it, the target first.
pub(super) fn list<'a>(
    call: &'a Call,
    state: &'a State,
    depth: Depth,
) -> Result<Vec<Resource<'a>>, DavError> {
    let account = state.account(&call.user)?;
    let mut found = match &call.target {
        Target::Top => {
            vec![Resource { href: format!("{DAV_BASE}/"), kind: Kind::Top { user: &call.user } }]
        }
        Target::File { owner, path } if *owner == call.user => {
            let place = state.place(owner, path);
            let home = home(call, state, owner, path)?;
            let node = home.account.tree.find(&place.path)?;
            let mut found = Vec::new();
            add_file(call, state, home, node, path.clone(), depth.levels, &mut found)?;
            found
        }
        Target::File { owner, path } => {
            state.account(owner)?;
            if !path.is_root() {
                return Err(Missing::At(path.clone()).into());
            }
            vec![Resource {
                href: format!("{}/", call.file_href(owner, path)),
                kind: Kind::Collection { mtime: None },
            }]
        }
        Target::Upload { folder, part } => {
            uploads(call, account, folder.as_deref(), part.as_deref(), depth)?
        }
        Target::Version { file, mtime } => versions(call, account, *file, mtime.as_deref(), depth)?,
        Target::Unknown(path) => return Err(Missing::At(path.clone()).into()),
    };
    if !depth.root && !found.is_empty() {
        found.remove(0);
    }
    Ok(found)
}

/// Whose files a path of the caller's is among.
fn home<'a>(
    call: &'a Call,
    state: &'a State,
    user: &'a str,
    path: &FilePath,
) -> Result<Home<'a>, DavError> {
    let share = state.share_around(user, path);
    let owner = share.map_or(user, |share| &share.owner);
    Ok(Home {
        owner,
        account: state.account(owner)?,
        stamps: &call.cloud.stamps,
        fingerprint: &state.fingerprint,
        share,
        around: false,
    })
}

/// Adds a node, which the caller has at `path`, and what is below it.
fn add_file<'a>(
    call: &'a Call,
    state: &'a State,
    home: Home<'a>,
    node: &'a Node,
    path: FilePath,
    levels: Levels,
    found: &mut Vec<Resource<'a>>,
) -> Result<(), DavError> {
    let href = call.file_href(&call.user, &path);
    let slash = if node.is_folder() { "/" } else { "" };
    let children = match levels {
        Levels::Itself => None,
        Levels::Children | Levels::All => node.children(),
    };
    found.push(Resource {
        href: format!("{href}{slash}"),
        kind: Kind::File {
            node,
            own: &state.account(&call.user)?.tree,
            tag: match (home.share, node.is_folder()) {
                (None, true) => state.folder_tag(&call.user, &path, &node.etag),
                _ => node.etag.clone(),
            },
            path: path.clone(),
            home,
        },
    });
    let below = match levels {
        Levels::All => Levels::All,
        _ => Levels::Itself,
    };
    let children = children.into_iter().flatten();
    for (name, child) in
        children.filter_map(|(name, id)| Some((name, home.account.tree.node(*id)?)))
    {
        add_file(call, state, home, child, path.join(name), below, found)?;
    }
    let inside = |share: &&Share| levels != Levels::Itself && share.at.parent() == path;
    for share in state.received(&call.user).filter(inside) {
        if let Some(node) = state.node(share) {
            let home = Home { around: true, ..self::home(call, state, &call.user, &share.at)? };
            add_file(call, state, home, node, share.at.clone(), below, found)?;
        }
    }
    Ok(())
}

fn uploads<'a>(
    call: &Call,
    account: &'a Account,
    folder: Option<&str>,
    part: Option<&str>,
    depth: Depth,
) -> Result<Vec<Resource<'a>>, DavError> {
    let home = format!("{DAV_BASE}/uploads/{}/", encode(&call.user));
    let collection = |href, mtime| Resource { href, kind: Kind::Collection { mtime: Some(mtime) } };
    let Some(folder) = folder else {
        let mut found = vec![collection(home.clone(), call.cloud.stamps.now())];
        if depth.levels != Levels::Itself {
            let all = account.uploads.iter();
            found.extend(all.map(|(name, upload)| {
                collection(format!("{home}{}/", encode(name)), upload.mtime)
            }));
        }
        return Ok(found);
    };
    let missing =
        |what: String| DavError::not_found(format!("File with name //{what} could not be located"));
    let upload = account.uploads.get(folder).ok_or_else(|| missing(folder.to_owned()))?;
    let href = format!("{home}{}/", encode(folder));
    let members = members(upload, &href);
    match part {
        None => {
            let mut found = vec![collection(href, upload.mtime)];
            if depth.levels != Levels::Itself {
                found.extend(members.into_iter().map(|(_, resource)| resource));
            }
            Ok(found)
        }
        Some(part) => members
            .into_iter()
            .find(|(name, _)| name == part)
            .map(|(_, resource)| vec![resource])
            .ok_or_else(|| missing(format!("{folder}/{part}"))),
    }
}

fn members<'a>(upload: &Upload, href: &str) -> Vec<(String, Resource<'a>)> {
    let joined = Kind::Part { size: upload.size(), mtime: upload.mtime, etag: upload.etag.clone() };
    let parts = upload.parts.iter().map(|(name, part)| {
        let kind = Kind::Part {
            size: part.size,
            mtime: part.mtime,
            etag: file_tag(part.mtime, part.id, part.size),
        };
        (name.as_str().to_owned(), kind)
    });
    std::iter::once((JOINED.to_owned(), joined))
        .chain(parts)
        .map(|(name, kind)| {
            let href = format!("{href}{}", encode(&name));
            (name, Resource { href, kind })
        })
        .collect()
}

/// The former contents of a file and, as the newest, the file itself (FACTS 13).
fn versions<'a>(
    call: &'a Call,
    account: &'a Account,
    file: NodeId,
    mtime: Option<&str>,
    depth: Depth,
) -> Result<Vec<Resource<'a>>, DavError> {
    let missing = || DavError::not_found("");
    let node = account.tree.node(file).ok_or_else(missing)?;
    let home = format!("{DAV_BASE}/versions/{}/versions/{file}/", encode(&call.user));
    let mut all = node.file().ok_or_else(missing)?.versions.clone();
    all.insert(node.mtime, node.size());
    let all = all.into_iter().map(|(mtime, size)| Resource {
        href: format!("{home}{mtime}"),
        kind: Kind::Version { size, mtime, name: &node.name, author: &call.user },
    });
    match mtime {
        Some(mtime) => {
            let wanted = format!("{home}{mtime}");
            let found = all.filter(|resource| resource.href == wanted).collect::<Vec<_>>();
            if found.is_empty() {
                return Err(missing());
            }
            Ok(found)
        }
        None => {
            let mut found = vec![Resource { href: home.clone(), kind: Kind::Versions }];
            if depth.levels != Levels::Itself {
                found.extend(all);
            }
            Ok(found)
        }
    }
}
