//! A query as a tree of texts, which knows the parts it was made of.

use std::collections::BTreeSet;

/// The type of an expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Scalar,
    Text,
    Vector,
    Range,
    /// No expression: it cannot stand for itself.
    Part,
}

/// An expression: texts and expressions in turn.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tree {
    pub(super) kind: Kind,
    pieces: Vec<Piece>,
    /// What of the language is used here, its expressions left out.
    tags: Vec<&'static str>,
}

#[derive(Debug, Clone, PartialEq)]
enum Piece {
    Text(String),
    Tree(Tree),
}

impl Tree {
    /// An expression of nothing but text.
    pub(super) fn text(kind: Kind, text: impl Into<String>) -> Tree {
        Tree { kind, pieces: vec![Piece::Text(text.into())], tags: Vec::new() }
    }

    /// An expression without anything yet.
    pub(super) fn empty(kind: Kind) -> Tree {
        Tree { kind, pieces: Vec::new(), tags: Vec::new() }
    }

    pub(super) fn then(mut self, text: impl Into<String>) -> Tree {
        self.pieces.push(Piece::Text(text.into()));
        self
    }

    pub(super) fn with(mut self, tree: Tree) -> Tree {
        self.pieces.push(Piece::Tree(tree));
        self
    }

    pub(super) fn tag(mut self, tag: &'static str) -> Tree {
        self.tags.push(tag);
        self
    }

    pub(super) fn of_kind(mut self, kind: Kind) -> Tree {
        self.kind = kind;
        self
    }

    pub(super) fn print(&self) -> String {
        let mut out = String::new();
        self.print_to(&mut out);
        out
    }

    fn print_to(&self, out: &mut String) {
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Tree(tree) => tree.print_to(out),
            }
        }
    }

    /// What of the language is used anywhere in it.
    pub(super) fn tags(&self) -> BTreeSet<&'static str> {
        let mut tags: BTreeSet<&'static str> = self.tags.iter().copied().collect();
        for tree in self.children() {
            tags.extend(tree.tags());
        }
        tags
    }

    fn children(&self) -> impl Iterator<Item = &Tree> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Tree(tree) => Some(tree),
            Piece::Text(_) => None,
        })
    }

    /// The expressions it is computed from.
    pub(super) fn operands(&self) -> Vec<&Tree> {
        let mut operands = Vec::new();
        for child in self.children() {
            match child.kind {
                Kind::Part => operands.extend(child.operands()),
                _ => operands.push(child),
            }
        }
        operands
    }

    /// All expressions in it, itself first.
    pub(super) fn all(&self) -> Vec<&Tree> {
        let mut all = vec![self];
        for child in self.children() {
            all.extend(child.all());
        }
        all
    }

    /// Trees that are smaller by one thing: an expression is replaced by one of the same kind that lies in it.
    pub(super) fn smaller(&self) -> Vec<Tree> {
        let mut smaller: Vec<Tree> = self.operands().into_iter().flat_map(Tree::all).cloned().collect();
        smaller.retain(|tree| tree.kind == self.kind);
        for (i, piece) in self.pieces.iter().enumerate() {
            let Piece::Tree(tree) = piece else { continue };
            for other in tree.smaller() {
                let mut copy = self.clone();
                copy.pieces[i] = Piece::Tree(other);
                smaller.push(copy);
            }
        }
        smaller
    }
}

#[test]
fn a_tree_prints_its_parts_and_becomes_smaller_by_them() {
    let leaf = |name: &str| Tree::text(Kind::Vector, name);
    let range = Tree::empty(Kind::Range).with(leaf("b")).then("[5m]");
    let call = Tree::text(Kind::Vector, "rate(").with(range).then(")").tag("rate");
    let sum = Tree::empty(Kind::Vector).with(leaf("a")).then(" + ").with(call).tag("+");
    assert_eq!(sum.print(), "a + rate(b[5m])");
    assert_eq!(sum.tags().into_iter().collect::<Vec<_>>(), ["+", "rate"]);
    let smaller: Vec<String> = sum.smaller().iter().map(Tree::print).collect();
    assert_eq!(smaller, ["a", "rate(b[5m])", "b", "a + b"]);
}
