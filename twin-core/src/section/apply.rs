//! Path operations on a section: all or none, exactly one version per effective list.

use super::node::{Node, Object};
use super::overlap::any_overlap;
use super::stamp::Stamp;
use super::{Section, node_count};
use crate::json::{compact_len_at_most, quoted_len};
use crate::limits::{NODES_MAX, OPS_MAX};
use crate::merge::apply_op;
use crate::numbers::{Version, WallTime};
use crate::op::Op;
use crate::path::Path;
use crate::refusal::{Refusal, RuleViolation};
use crate::value::{Members, Value};

impl<S: Stamp> Section<S> {
    /// Applies operations that [`check_ops`](crate::rules::check_ops) has passed, and returns those that changed
    /// something; `None`: nothing did, and version and times stand as they were. A list counts by its outcome: what one
    /// operation does and a later one undoes is no change. Refused, whole, where the section would outgrow its bounds.
    pub fn apply(&mut self, ops: Vec<Op>, now: WallTime) -> Result<Option<Vec<Op>>, Refusal> {
        let ops = if any_overlap(&ops) { vec![self.outcome(ops)] } else { ops };
        if self.certainly_fits(&ops) {
            return Ok(self.apply_disjoint(ops, now));
        }
        let mut next = self.clone();
        let effective = next.apply_disjoint(ops, now);
        next.check_bounds()?;
        *self = next;
        Ok(effective)
    }

    /// Operations that touch each other, as the one replacement that they amount to.
    fn outcome(&self, ops: Vec<Op>) -> Op {
        let mut value = self.to_value();
        for op in ops {
            apply_op(&mut value, op);
        }
        Op::Replace { path: Path::root(), value }
    }

    /// No outcome can break a bound, even if nothing that stands is replaced: saves the copy that undoes a refusal.
    fn certainly_fits(&self, ops: &[Op]) -> bool {
        let mut size_bytes = self.size_bytes;
        let mut nodes = self.nodes;
        for op in ops {
            if let Op::Set { path, value } | Op::Replace { path, value } = op {
                // Per key: quotes and escapes, colon, comma, and the braces of an object that it may need.
                size_bytes +=
                    path.keys().iter().map(|key| quoted_len(key) + 4).sum::<usize>() + compact_len_at_most(value);
                nodes += path.keys().len() + node_count(value);
            }
        }
        size_bytes <= S::KIND.size_bytes_max() && nodes <= NODES_MAX
    }

    fn check_bounds(&self) -> Result<(), Refusal> {
        let (name, limit) = (S::KIND.name(), S::KIND.size_bytes_max());
        if self.size_bytes > limit {
            return Err(Refusal::TooLarge {
                what: name.to_owned(),
                pointer: format!("/{name}"),
                size_bytes: self.size_bytes as u64,
                limit_bytes: limit as u64,
            });
        }
        if self.nodes > NODES_MAX {
            return Err(Refusal::Rule(RuleViolation {
                code: "nodes".to_owned(),
                pointer: format!("/{name}"),
                message: format!(
                    "{name} would have {} nodes (object members and array elements), the limit is {NODES_MAX}",
                    self.nodes
                ),
                limit: Some(NODES_MAX as u64),
            }));
        }
        Ok(())
    }

    fn apply_disjoint(&mut self, ops: Vec<Op>, now: WallTime) -> Option<Vec<Op>> {
        let mut change = Change { version: self.version.next(), now, size_bytes: self.size_bytes, nodes: self.nodes };
        let mut effective = Vec::with_capacity(ops.len());
        for op in ops {
            match op {
                Op::Replace { path, value: Value::Object(members) } => {
                    self.replace(path, members, &mut change, &mut effective);
                }
                op => {
                    if self.is_effective(&op) {
                        self.carry_out(&op, &mut change);
                        effective.push(op);
                    }
                }
            }
        }
        if effective.is_empty() {
            return None;
        }
        (self.version, self.updated) = (change.version, now);
        (self.size_bytes, self.nodes) = (change.size_bytes, change.nodes);
        Some(effective)
    }

    /// What stays equal keeps its version, its time and its state of convergence: a replacement of an object is the
    /// difference to what stands.
    fn replace(&mut self, path: Path, members: Members, change: &mut Change, effective: &mut Vec<Op>) {
        let standing = if path.is_root() {
            Some(&self.root)
        } else {
            match self.node(&path) {
                Some(Node::Object(object)) => Some(object),
                _ => None,
            }
        };
        let Some(object) = standing else {
            let op = Op::Replace { path, value: Value::Object(members) };
            self.carry_out(&op, change);
            effective.push(op);
            return;
        };
        let mut ops = Vec::new();
        difference(object, members, &path, &mut ops);
        for op in &ops {
            self.carry_out(op, change);
        }
        if ops.len() > OPS_MAX {
            // More operations than a list may have: the replacement says the same in one.
            let value = self.get(&path).unwrap_or_else(Value::empty_object);
            effective.push(Op::Replace { path, value });
        } else {
            effective.extend(ops);
        }
    }

    fn is_effective(&self, op: &Op) -> bool {
        match op {
            Op::Set { path, .. } if path.is_root() => false,
            Op::Set { path, value } | Op::Replace { path, value } => match (self.node(path), value) {
                (Some(Node::Object(_)), Value::Object(members)) if members.is_empty() => false,
                (Some(node), value) => !node.equals(value),
                (None, _) => true,
            },
            Op::Remove { path } => self.node(path).is_some(),
        }
    }

    fn carry_out(&mut self, op: &Op, change: &mut Change) {
        match op {
            Op::Set { path, value } | Op::Replace { path, value } => {
                let node = Node::from_value(value.clone(), change.version, change.now);
                change.put(&mut self.root, path.keys(), node);
            }
            Op::Remove { path } => change.take(&mut self.root, path.keys()),
        }
    }
}

/// One version being made: what it stamps, and the section's measures as they become.
struct Change {
    version: Version,
    now: WallTime,
    size_bytes: usize,
    nodes: usize,
}

impl Change {
    fn put<S: Stamp>(&mut self, object: &mut Object<S>, keys: &[Box<str>], node: Node<S>) {
        object.stamp = S::new(self.version, self.now);
        let Some((key, below)) = keys.split_first() else { return };
        if below.is_empty() {
            self.set_member(object, key, node);
            return;
        }
        if !matches!(object.members.get(key), Some(Node::Object(_))) {
            self.set_member(object, key, Node::Object(Object::new(self.version, self.now)));
        }
        if let Some(Node::Object(child)) = object.members.get_mut(key) {
            self.put(child, below, node);
        }
    }

    fn set_member<S: Stamp>(&mut self, object: &mut Object<S>, key: &str, node: Node<S>) {
        self.size_bytes += node.compact_len();
        self.nodes += node.node_count();
        if let Some(standing) = object.members.get_mut(key) {
            self.size_bytes -= standing.compact_len();
            self.nodes -= standing.node_count();
            *standing = node;
        } else {
            self.size_bytes += member_overhead(key, object.members.len());
            self.nodes += 1;
            object.members.insert(key.into(), node);
        }
    }

    fn take<S: Stamp>(&mut self, object: &mut Object<S>, keys: &[Box<str>]) {
        object.stamp = S::new(self.version, self.now);
        match keys {
            [] => {}
            [key] => {
                if let Some(node) = object.members.remove(key) {
                    self.size_bytes -= node.compact_len() + member_overhead(key, object.members.len());
                    self.nodes -= node.node_count() + 1;
                }
            }
            [key, below @ ..] => {
                if let Some(Node::Object(child)) = object.members.get_mut(key) {
                    self.take(child, below);
                }
            }
        }
    }
}

/// Bytes of a member beside its value: key, colon, and a comma where it has neighbours.
fn member_overhead(key: &str, neighbours: usize) -> usize {
    quoted_len(key) + 1 + usize::from(neighbours > 0)
}

/// The operations that make `object` equal `members`; nulls count as absent.
fn difference<S: Stamp>(object: &Object<S>, members: Members, path: &Path, ops: &mut Vec<Op>) {
    for key in object.members.keys() {
        if matches!(members.get(key), None | Some(Value::Null)) {
            ops.push(Op::Remove { path: path.child(key) });
        }
    }
    for (key, value) in members {
        match (object.members.get(&key), value) {
            (_, Value::Null) => {}
            (Some(Node::Object(standing)), Value::Object(members)) => {
                difference(standing, members, &path.child(&key), ops);
            }
            (Some(node), value) if node.equals(&value) => {}
            (_, value @ Value::Object(_)) => ops.push(Op::Replace { path: path.child(&key), value }),
            (_, value) => ops.push(Op::Set { path: path.child(&key), value }),
        }
    }
}
