//! Which step comes first: chains of waits are followed, circles are broken. Pure, as the plan is.
//!
//! Parents come before children, names are vacated before they are taken, and what was taken out of
//! a removed directory leaves it before it is deleted. Each of these is a wait of one node for
//! another. A circle (two names swapped; a directory renamed to what is to leave it) always holds a
//! node that has to vacate a name: that one is put aside.

use std::collections::HashSet;

use super::plan::{Decision, Step, View, Why, aside, decide};
use crate::tree::TreeError;
use crate::types::Ino;

/// How many nodes a chain of waits is followed over.
const FOLLOWED: usize = 10_000;

/// What to do about `ino` now: as [`decide`], but a wait in a circle becomes the step that breaks it.
pub fn next(view: &mut impl View, ino: Ino) -> Result<Decision, TreeError> {
    let decision = decide(view, ino)?;
    let Decision::Wait(blockers) = &decision else { return Ok(decision) };
    let mut search = Search { path: vec![(ino, Why::Parent)], seen: HashSet::from([ino]) };
    for (blocker, why) in blockers {
        if let Some(step) = search.follow(view, *blocker, *why)? {
            return Ok(Decision::Do(step));
        }
    }
    Ok(decision)
}

struct Search {
    /// The chain from the first node to the present one, each with why its predecessor waits for it.
    path: Vec<(Ino, Why)>,
    seen: HashSet<Ino>,
}

impl Search {
    fn follow(
        &mut self,
        view: &mut impl View,
        ino: Ino,
        why: Why,
    ) -> Result<Option<Step>, TreeError> {
        if let Some(start) = self.path.iter().position(|(on_path, _)| *on_path == ino) {
            let circle = self.path[start + 1..].iter().copied().chain(std::iter::once((ino, why)));
            return break_circle(view, circle);
        }
        if !self.seen.insert(ino) || self.seen.len() > FOLLOWED {
            return Ok(None);
        }
        let Decision::Wait(blockers) = decide(view, ino)? else { return Ok(None) };
        self.path.push((ino, why));
        for (blocker, why) in blockers {
            if let Some(step) = self.follow(view, blocker, why)? {
                return Ok(Some(step));
            }
        }
        self.path.pop();
        Ok(None)
    }
}

fn break_circle(
    view: &mut impl View,
    circle: impl Iterator<Item = (Ino, Why)>,
) -> Result<Option<Step>, TreeError> {
    for (ino, why) in circle {
        if why == Why::Vacate
            && let Some(node) = view.node(ino)?
            && let Some(to) = aside(view, &node)?
            && !node.synced.as_ref().is_some_and(|synced| synced.place.same(&to))
        {
            return Ok(Some(Step::MoveAside { ino, to }));
        }
    }
    Ok(None)
}
