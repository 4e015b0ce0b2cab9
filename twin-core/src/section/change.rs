//! REST's changes as path operations, checked against what stands.

use super::Section;
use super::node::{Node, Object};
use super::stamp::Stamp;
use crate::command::{ChangeKind, SectionChange};
use crate::merge::{drop_nulls, ops_of_patch_at, strip_reserved};
use crate::op::Op;
use crate::path::Path;
use crate::refusal::{Refusal, RuleViolation};
use crate::rules::{check_ops_unbounded, check_path, type_name};
use crate::value::Value;

impl<S: Stamp> Section<S> {
    /// The path operations of a change, checked against the document rules. What is refused: a removal of what is not
    /// there (`PathNotFound`), and a path that leads through a scalar or an array (rule `path-through-leaf`), since
    /// arrays are replaced whole and a scalar is not silently turned into an object by a path.
    pub fn ops_of(&self, change: SectionChange) -> Result<Vec<Op>, Refusal> {
        let SectionChange { at, kind } = change;
        check_path(&at, S::KIND)?;
        let ops = match kind {
            ChangeKind::Remove | ChangeKind::Merge(Value::Null) | ChangeKind::Replace(Value::Null) if !at.is_root() => {
                if self.node(&at).is_none() {
                    return Err(Refusal::PathNotFound { pointer: format!("/{}{at}", S::KIND.name()) });
                }
                vec![Op::Remove { path: at }]
            }
            ChangeKind::Remove => vec![Op::Replace { path: at, value: Value::empty_object() }],
            ChangeKind::Merge(patch) => {
                self.check_way(&at)?;
                ops_of_patch_at(&at, patch)
            }
            ChangeKind::Replace(value) => {
                self.check_way(&at)?;
                vec![replacement(at, value)]
            }
        };
        check_ops_unbounded(&ops, S::KIND)?;
        Ok(ops)
    }

    /// All that stands on the way to a path is objects.
    fn check_way(&self, at: &Path) -> Result<(), RuleViolation> {
        let Some((_, way)) = at.keys().split_last() else { return Ok(()) };
        let mut object: &Object<S> = &self.root;
        for (depth, key) in way.iter().enumerate() {
            match object.members.get(key) {
                None => return Ok(()),
                Some(Node::Object(child)) => object = child,
                Some(Node::Leaf { value, .. }) => {
                    let name = S::KIND.name();
                    let leaf = Path::from_keys(way[..=depth].iter().cloned());
                    return Err(RuleViolation {
                        code: "path-through-leaf".to_owned(),
                        pointer: format!("/{name}{leaf}"),
                        message: format!(
                            "the path /{name}{at} leads through {}, which is replaced whole: write to /{name}{leaf}",
                            type_name(value)
                        ),
                        limit: None,
                    });
                }
            }
        }
        Ok(())
    }
}

fn replacement(path: Path, value: Value) -> Op {
    match value {
        Value::Object(mut members) => {
            if path.is_root() {
                strip_reserved(&mut members);
            }
            drop_nulls(&mut members);
            Op::Replace { path, value: Value::Object(members) }
        }
        // At the root this stays a replacement by something that is no object, for the rules to refuse.
        value if path.is_root() => Op::Replace { path, value },
        value => Op::Set { path, value },
    }
}
