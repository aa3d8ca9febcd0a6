//! Renaming, also over something that exists, and the exchange of two names.

use std::sync::Arc;

use super::lookup::child;
use super::remove::empty;
use super::rights::{require_exchange, require_rename};
use super::{Result, Stop, Vfs, VfsError, live_dir, mark_moved, take_name, touch_dir};
use crate::fault;
use crate::tree::{Node, Place, Tx};
use crate::types::{Ino, Name, Time};

/// What becomes of a node that has the new name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RenameRule {
    /// It is replaced (rename(2)).
    Replace,
    /// The rename fails (RENAME_NOREPLACE).
    KeepTarget,
    /// It gets the old name (RENAME_EXCHANGE); it must be there.
    Exchange,
}

impl Vfs {
    /// Gives a node another name, in one transaction with what the new name held.
    pub async fn rename(
        &self,
        from: (Ino, &[u8]),
        to: (Ino, &[u8]),
        rule: RenameRule,
    ) -> Result<()> {
        self.writable()?;
        if self.done().is_some() {
            return Ok(());
        }
        let from = Place::new(from.0, Name::new(from.1)?);
        if rule == RenameRule::Exchange {
            let to = Place::new(to.0, Name::new(to.1)?);
            return self.change(|tx| self.exchange_in(tx, &from, &to)).await;
        }
        let to = Place::new(to.0, self.storable(to.1)?);
        let replaced = self.change(|tx| self.rename_in(tx, &from, &to, rule)).await?;
        fault::point("committed", to.name.as_bytes());
        replaced.map_or(Ok(()), |node| self.let_go(&node))
    }

    /// The transaction; tells what was replaced.
    fn rename_in(
        &self,
        tx: &mut Tx<'_>,
        from: &Place,
        to: &Place,
        rule: RenameRule,
    ) -> std::result::Result<Option<Arc<Node>>, Stop> {
        live_dir(tx, from.parent)?;
        let dir = live_dir(tx, to.parent)?;
        let moved = child(tx, from.parent, &from.name)?.ok_or(VfsError::NotFound)?;
        if moved.is_dir() && is_inside(tx, to.parent, moved.ino)? {
            return Err(VfsError::IntoItself.into());
        }
        self.reachable_with_all_below(tx, &moved, to)?;
        let now = self.clock.now();
        let mut replaced = None;
        match child(tx, to.parent, &to.name)? {
            None => require_rename(&moved, &dir, to, None)?,
            Some(_) if rule == RenameRule::KeepTarget => return Err(VfsError::Exists.into()),
            Some(_) if moved.local.as_ref() == Some(to) => return Ok(None),
            // Another spelling of the same name: what changes is what readdir shows.
            Some(target) if target.ino == moved.ino => require_rename(&moved, &dir, to, None)?,
            Some(target) => {
                replaceable(tx, &moved, &target)?;
                require_rename(&moved, &dir, to, Some(&target))?;
                // Before the other node gets the name, which is unique.
                take_name(tx, &target, now)?;
                replaced = Some(target);
            }
        }
        give_name(tx, &moved, to, now)?;
        touch_dirs(tx, from, to, now)?;
        Ok(replaced)
    }

    /// The transaction of an exchange. Each gets the other's name as it is shown: no spelling changes.
    fn exchange_in(
        &self,
        tx: &mut Tx<'_>,
        from: &Place,
        to: &Place,
    ) -> std::result::Result<(), Stop> {
        let one_dir = live_dir(tx, from.parent)?;
        let other_dir = live_dir(tx, to.parent)?;
        let one = child(tx, from.parent, &from.name)?.ok_or(VfsError::NotFound)?;
        let other = child(tx, to.parent, &to.name)?.ok_or(VfsError::NotFound)?;
        if one.ino == other.ino {
            return Ok(());
        }
        for (node, into) in [(&one, to.parent), (&other, from.parent)] {
            if node.is_dir() && is_inside(tx, into, node.ino)? {
                return Err(VfsError::IntoItself.into());
            }
        }
        let (Some(first), Some(second)) = (&one.local, &other.local) else {
            return Err(VfsError::Stale.into());
        };
        require_exchange((&one, &one_dir, first), (&other, &other_dir, second))?;
        self.reachable_with_all_below(tx, &one, second)?;
        self.reachable_with_all_below(tx, &other, first)?;
        let now = self.clock.now();
        // Names are unique: one of the two is nowhere for a moment.
        tx.put_detached(Node { local: None, ..(*one).clone() })?;
        give_name(tx, &other, first, now)?;
        give_name(tx, &one, second, now)?;
        touch_dirs(tx, first, second, now)?;
        Ok(())
    }
}

fn give_name(tx: &mut Tx<'_>, moved: &Node, to: &Place, now: Time) -> Result<()> {
    let mut node = Node { local: Some(to.clone()), ..moved.clone() };
    mark_moved(&mut node, now);
    Ok(tx.put(node)?)
}

fn touch_dirs(tx: &mut Tx<'_>, from: &Place, to: &Place, now: Time) -> Result<()> {
    touch_dir(tx, from.parent, now)?;
    if to.parent != from.parent {
        touch_dir(tx, to.parent, now)?;
    }
    Ok(())
}

/// Whether a directory is `above` or lies below it.
fn is_inside(tx: &mut Tx<'_>, dir: Ino, above: Ino) -> Result<bool> {
    let mut at = dir;
    while at != Ino::ROOT {
        if at == above {
            return Ok(true);
        }
        match tx.node(at)?.as_ref().and_then(|node| node.local.as_ref()) {
            Some(place) => at = place.parent,
            None => return Ok(false),
        }
    }
    Ok(above == Ino::ROOT)
}

/// Refuses what rename(2) refuses to replace.
fn replaceable(tx: &mut Tx<'_>, moved: &Node, target: &Node) -> std::result::Result<(), Stop> {
    match (moved.is_dir(), target.is_dir()) {
        (true, false) => Err(VfsError::NotADirectory.into()),
        (false, true) => Err(VfsError::IsADirectory.into()),
        (true, true) => empty(tx, target),
        (false, false) => Ok(()),
    }
}
