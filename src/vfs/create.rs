//! Making names: files, directories, symbolic links, fifos and sockets.

use std::sync::Arc;

use super::file::{OpenMode, Opened};
use super::lookup::{Entry, child};
use super::names::has_one_spelling;
use super::rights::require_room;
use super::{Result, Stat, Stop, Vfs, VfsError, live_dir, touch_dir};
use crate::fault;
use crate::tree::{Attr, Body, Content, Node, Place, Push, Tx};
use crate::types::{BadName, FileHandle, Ino, Name, Time};

/// The longest target of a symbolic link, without the NUL that PATH_MAX counts.
const MAX_TARGET: usize = libc::PATH_MAX as usize - 1;

const SETGID: u16 = libc::S_ISGID as u16;

/// Who asks: the owner of what is made.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    pub uid: u32,
    pub gid: u32,
}

/// A file that was made, or found under the name, and opened.
#[derive(Clone, Copy, Debug)]
pub struct Created {
    pub stat: Stat,
    /// The kernel may remember the name until it is told otherwise.
    pub lasting: bool,
    pub opened: Opened,
}

impl Vfs {
    /// Opens a file that is made if need be. With `exclusive` it must not have been there. The
    /// umask has been applied to `mode` by the kernel, here and below.
    pub async fn create(
        &self,
        caller: Caller,
        parent: Ino,
        name: &[u8],
        mode: u32,
        exclusive: bool,
        open: OpenMode,
    ) -> Result<Created> {
        self.writable()?;
        let name = self.storable(name)?;
        let (node, opened) = match self.done() {
            // Its handle is found again as well.
            Some(Some(made)) => (made, self.open_node(made, open.access())?),
            _ => match self.make_open(caller, parent, &name, mode, exclusive, open).await? {
                (node, Some(handle)) => (node, Opened { handle, keep_pages: false }),
                // It came from the server since the kernel looked it up.
                (node, None) => (node, self.open(node, open)?),
            },
        };
        let node = self.tree.node(node)?.ok_or(VfsError::Stale)?;
        Ok(Created { stat: self.stat(&node)?, lasting: has_one_spelling(&name), opened })
    }

    /// Makes a file with a handle, or finds what has the name.
    async fn make_open(
        &self,
        caller: Caller,
        parent: Ino,
        name: &Name,
        mode: u32,
        exclusive: bool,
        open: OpenMode,
    ) -> Result<(Ino, Option<FileHandle>)> {
        let mut taken = None;
        let made = self
            .change(|tx| match child(tx, parent, name)? {
                None => {
                    let file = Body::File(Content::Empty);
                    let node = self.make(tx, caller, parent, name, mode, file)?;
                    // Pinned before anybody can see it, so that nobody can remove it before.
                    let pin = self.tree.pins().pin(node.ino, open.access().pin_kind());
                    taken = Some(self.handles.open(&node, open.access(), pin)?);
                    Ok((node.ino, taken))
                }
                Some(_) if exclusive => Err(VfsError::Exists.into()),
                Some(node) => Ok((node.ino, None)),
            })
            .await;
        if let (Err(_), Some(handle)) = (&made, taken) {
            self.handles.close(handle);
        }
        fault::point("committed", name.as_bytes());
        made
    }

    /// Makes a file, fifo or socket without opening it. `mode` has the type bits.
    pub async fn mknod(
        &self,
        caller: Caller,
        parent: Ino,
        name: &[u8],
        mode: u32,
    ) -> Result<Entry> {
        let body = match mode & libc::S_IFMT {
            0 | libc::S_IFREG => Body::File(Content::Empty),
            libc::S_IFIFO => Body::Fifo,
            libc::S_IFSOCK => Body::Socket,
            libc::S_IFCHR | libc::S_IFBLK => return Err(VfsError::NotPermitted("device nodes")),
            _ => return Err(VfsError::Invalid("the kind of node")),
        };
        self.make_name(caller, parent, name, mode, body).await
    }

    /// Makes a directory. All its children are known: there are none.
    pub async fn mkdir(
        &self,
        caller: Caller,
        parent: Ino,
        name: &[u8],
        mode: u32,
    ) -> Result<Entry> {
        self.make_name(caller, parent, name, mode, Body::Dir { listed: true, tag: None }).await
    }

    pub async fn symlink(
        &self,
        caller: Caller,
        parent: Ino,
        name: &[u8],
        target: &[u8],
    ) -> Result<Entry> {
        if target.is_empty() {
            return Err(VfsError::NotFound);
        }
        if target.len() > MAX_TARGET {
            return Err(BadName::TooLong.into());
        }
        self.make_name(caller, parent, name, 0o777, Body::Symlink(target.into())).await
    }

    async fn make_name(
        &self,
        caller: Caller,
        parent: Ino,
        name: &[u8],
        mode: u32,
        body: Body,
    ) -> Result<Entry> {
        self.writable()?;
        let name = self.storable(name)?;
        let node = match self.done() {
            Some(Some(made)) => self.tree.node(made)?.ok_or(VfsError::Stale)?,
            _ => {
                let made = self.change(|tx| match child(tx, parent, &name)? {
                    None => self.make(tx, caller, parent, &name, mode, body.clone()),
                    Some(_) => Err(VfsError::Exists.into()),
                });
                let made = made.await?;
                fault::point("committed", name.as_bytes());
                made
            }
        };
        Ok(Entry { stat: Some(self.stat(&node)?), lasting: has_one_spelling(&name) })
    }

    /// Adds a node under a name that is free.
    fn make(
        &self,
        tx: &mut Tx<'_>,
        caller: Caller,
        parent: Ino,
        name: &Name,
        mode: u32,
        body: Body,
    ) -> std::result::Result<Arc<Node>, Stop> {
        let dir = live_dir(tx, parent)?;
        require_room(&dir, &body)?;
        let now = self.clock.now();
        let attr = first_attr(caller, &dir.attr, mode, &body, now);
        let place = Place::new(parent, name.clone());
        self.reachable(tx, &place)?;
        let node = tx.insert(Node {
            ino: Ino(0),
            body,
            local: Some(place),
            attr,
            synced: None,
            remote: None,
            mtime_set: false,
            push: Push { changed: now, ..Push::default() },
        })?;
        touch_dir(tx, parent, now)?;
        Ok(node)
    }
}

/// The attributes of a node made by `caller` in a directory: below a set-group-id directory all has
/// its group, and directories are set-group-id themselves (inode(7)).
fn first_attr(caller: Caller, dir: &Attr, mode: u32, body: &Body, now: Time) -> Attr {
    let mut mode = (mode & 0o7777) as u16;
    let inherits = dir.mode & SETGID != 0;
    if inherits && matches!(body, Body::Dir { .. }) {
        mode |= SETGID;
    }
    Attr {
        mode,
        uid: caller.uid,
        gid: if inherits { dir.gid } else { caller.gid },
        atime: now,
        mtime: now,
        ctime: now,
        size: 0,
    }
}
