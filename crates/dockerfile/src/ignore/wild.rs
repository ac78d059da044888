//! Many patterns with wildcards at once: those that match a path are found in about the time that one takes, as long as
//! they differ in letters. Ignore files of tens of thousands of lines exist, and each is asked about each file.

use std::{
    collections::{BTreeSet, VecDeque},
    iter::successors,
    mem::{swap, take},
};

use super::Matcher;
use super::effort::Effort;
use crate::glob::{Characters, Token};

/// Patterns by what they begin or end with. Each has a number, by which it is found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wild {
    prefixes: Texts,
    /// Written backwards.
    suffixes: Texts,
    tokens: Trie,
}

impl Wild {
    pub(super) fn new<'a>(patterns: impl Iterator<Item = (usize, &'a Matcher)>) -> Self {
        let (mut prefixes, mut suffixes, mut tokens) = (Vec::new(), Vec::new(), Vec::new());
        for (number, matcher) in patterns {
            match matcher {
                Matcher::Exact(_) => {}
                Matcher::Prefix(text) => prefixes.push((text.clone(), number)),
                Matcher::Suffix(text) => suffixes.push((text.iter().rev().copied().collect(), number)),
                Matcher::Tokens(list) => tokens.push((shortened(list), number)),
            }
        }
        Self { prefixes: Texts::new(prefixes), suffixes: Texts::new(suffixes), tokens: Trie::new(tokens) }
    }

    /// The numbers of those that match, in order.
    pub(super) fn matching(&self, path: &[u8], effort: &Effort) -> Vec<usize> {
        let mut found = self.tokens.matching(path, effort);
        found.extend(self.prefixes.beginning(path));
        if !self.suffixes.0.is_empty() {
            // `**/foo` is also the `foo` at the top.
            let backwards: Vec<u8> = path.iter().rev().chain(b"/").copied().collect();
            found.extend(self.suffixes.beginning(&backwards));
        }
        found.sort_unstable();
        found
    }

    /// Whether one could match some path that begins with these bytes.
    pub(super) fn could_match_below(&self, below: &[u8], effort: &Effort) -> bool {
        !self.suffixes.0.is_empty()
            || self.prefixes.meets(below)
            || self.tokens.could_match_below(below, effort)
    }
}

/// Texts in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Texts(Vec<Text>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Text {
    text: Vec<u8>,
    number: usize,
    /// The place of the longest text before it that it begins with.
    beginning: Option<usize>,
}

impl Texts {
    fn new(mut texts: Vec<(Vec<u8>, usize)>) -> Self {
        texts.sort_unstable();
        let mut all: Vec<Text> = Vec::new();
        for (text, number) in texts {
            let last = all.len().checked_sub(1);
            let before = successors(last, |&place| all.get(place)?.beginning);
            let begins = |&place: &usize| all.get(place).is_some_and(|other| text.starts_with(&other.text));
            let beginning = before.into_iter().find(begins);
            all.push(Text { text, number, beginning });
        }
        Self(all)
    }

    /// The place of the last text that is not greater. What `path` begins with is it or among its beginnings.
    fn last(&self, path: &[u8]) -> Option<&Text> {
        self.0.get(self.0.partition_point(|text| text.text.as_slice() <= path).checked_sub(1)?)
    }

    /// The numbers of those that `path` begins with.
    fn beginning(&self, path: &[u8]) -> impl Iterator<Item = usize> {
        successors(self.last(path), |text| self.0.get(text.beginning?))
            .filter(move |text| path.starts_with(&text.text))
            .map(|text| text.number)
    }

    /// Whether `path` begins with one, or one with it.
    fn meets(&self, path: &[u8]) -> bool {
        let next = self.0.partition_point(|text| text.text.as_slice() < path);
        let begins = self.0.get(next).is_some_and(|text| text.text.starts_with(path));
        begins || self.beginning(path).next().is_some()
    }
}

/// The same pattern, without tokens that add nothing to the one before. So no more than two that match nothing follow each
/// other: a name's rest and the folders below it.
fn shortened(tokens: &[Token]) -> Vec<Token> {
    use Token::{Everything, Folders, Many};
    let mut short: Vec<Token> = Vec::with_capacity(tokens.len());
    for token in tokens {
        let mut token = token.clone();
        loop {
            token = match (short.last(), &token) {
                (Some(Many), Many) | (Some(Folders), Folders) => break,
                (Some(Everything), Many | Folders | Everything) => break,
                (Some(Folders), Many) | (Some(Many | Folders), Everything) => {
                    short.pop();
                    Everything
                }
                _ => {
                    short.push(token);
                    break;
                }
            };
        }
    }
    short
}

/// Patterns that begin alike share the nodes of their beginning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Trie {
    /// The first is where all begin, and behind the last stands one that is none.
    nodes: Vec<Node>,
    /// What leads on, node by node, in order.
    literals: Vec<(u32, u32)>,
    others: Vec<(Token, u32)>,
    /// The numbers of the patterns that end, node by node.
    ends: Vec<usize>,
}

/// A place in patterns, and where its own begin in the lists: the next node's are behind them.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Node {
    stays: Stays,
    literals: u32,
    others: u32,
    ends: u32,
}

/// Which characters a place takes without leaving it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stays {
    Never,
    WithinName,
    Always,
}

/// Patterns of one node, and how many tokens are behind it.
struct Group<'a> {
    patterns: &'a [(Vec<Token>, usize)],
    depth: usize,
    stays: Stays,
}

impl Trie {
    fn new(mut patterns: Vec<(Vec<Token>, usize)>) -> Self {
        let mut trie = Self::default();
        if patterns.is_empty() {
            return trie;
        }
        patterns.sort_unstable();
        let mut groups = VecDeque::from([Group { patterns: &patterns, depth: 0, stays: Stays::Never }]);
        while let Some(group) = groups.pop_front() {
            let first = trie.nodes.len() + 1 + groups.len();
            trie.add_node(group.stays);
            groups.extend(trie.add_edges(&group, first));
        }
        trie.add_node(Stays::Never);
        trie
    }

    fn add_node(&mut self, stays: Stays) {
        let [literals, others, ends] =
            [self.literals.len(), self.others.len(), self.ends.len()].map(short_number);
        self.nodes.push(Node { stays, literals, others, ends });
    }

    /// What leads on from a node, to nodes that are counted from `first`.
    fn add_edges<'a>(&mut self, group: &Group<'a>, first: usize) -> Vec<Group<'a>> {
        let depth = group.depth;
        let mut below = Vec::new();
        for patterns in group.patterns.chunk_by(|one, other| one.0.get(depth) == other.0.get(depth)) {
            let Some(token) = patterns.first().and_then(|(tokens, _)| tokens.get(depth)) else {
                self.ends.extend(patterns.iter().map(|(_, number)| *number));
                continue;
            };
            let node = short_number(first + below.len());
            match token {
                Token::Literal(character) => self.literals.push((*character, node)),
                other => self.others.push((other.clone(), node)),
            }
            let stays = match token {
                Token::Many => Stays::WithinName,
                Token::Everything => Stays::Always,
                _ => Stays::Never,
            };
            below.push(Group { patterns, depth: depth + 1, stays });
        }
        below
    }

    /// What a node has in one of the lists.
    fn part<'a, T>(&self, list: &'a [T], node: u32, start: impl Fn(&Node) -> u32) -> &'a [T] {
        let place = |node: usize| self.nodes.get(node).map_or(list.len(), |node| start(node) as usize);
        let node = node as usize;
        list.get(place(node)..place(node + 1)).unwrap_or_default()
    }

    fn others(&self, node: u32) -> &[(Token, u32)] {
        self.part(&self.others, node, |node| node.others)
    }

    fn literal(&self, node: u32, character: u32) -> Option<u32> {
        let literals = self.part(&self.literals, node, |node| node.literals);
        let place = literals.binary_search_by_key(&character, |(character, _)| *character).ok()?;
        literals.get(place).map(|(_, to)| *to)
    }

    fn stays(&self, node: u32, is_slash: bool) -> bool {
        self.nodes.get(node as usize).is_some_and(|node| match node.stays {
            Stays::Never => false,
            Stays::WithinName => !is_slash,
            Stays::Always => true,
        })
    }

    fn matching(&self, path: &[u8], effort: &Effort) -> Vec<usize> {
        let ends = |node: u32| self.part(&self.ends, node, |node| node.ends);
        let walk = Walk::along(self, path, effort);
        walk.map_or(Vec::new(), |walk| walk.reached.iter().flat_map(|&node| ends(node)).copied().collect())
    }

    fn could_match_below(&self, below: &[u8], effort: &Effort) -> bool {
        Walk::along(self, below, effort).is_some()
    }
}

/// Which nodes are reached: no backtracking, so that hostile patterns cost no more than their length per character.
struct Walk<'a> {
    trie: &'a Trie,
    reached: Vec<u32>,
    next: Vec<u32>,
    /// The nodes that are reached again behind each `/`.
    folders: BTreeSet<u32>,
    /// What was compared since this was last told.
    steps: u64,
}

impl<'a> Walk<'a> {
    /// Reads a path. None: nothing matches it, nor what begins with it, or the effort is spent.
    fn along(trie: &'a Trie, path: &[u8], effort: &Effort) -> Option<Self> {
        if trie.nodes.is_empty() {
            return None;
        }
        let (reached, next, folders) = (Vec::new(), Vec::new(), BTreeSet::new());
        let mut walk = Self { trie, reached, next, folders, steps: 0 };
        walk.enter(0);
        swap(&mut walk.reached, &mut walk.next);
        let goes_on = |character| walk.step(character) && effort.spend(take(&mut walk.steps), 1);
        Characters::new(path).all(goes_on).then_some(walk)
    }

    /// Reaches a node, and those to which nothing leads. These are few in a row, see [`shortened`].
    fn enter(&mut self, node: u32) {
        self.next.push(node);
        let trie = self.trie;
        self.steps += 1 + trie.others(node).len() as u64;
        for (token, to) in trie.others(node) {
            match token {
                Token::Many | Token::Everything => self.enter(*to),
                Token::Folders => {
                    self.folders.insert(*to);
                    self.enter(*to);
                }
                _ => {}
            }
        }
    }

    /// Reads a character; `false` when nothing is reached any more.
    fn step(&mut self, character: u32) -> bool {
        let is_slash = character == u32::from('/');
        let mut reached = take(&mut self.reached);
        for &node in &reached {
            self.leave(node, character, is_slash);
        }
        if is_slash {
            let folders: Vec<u32> = self.folders.iter().copied().collect();
            folders.into_iter().for_each(|node| self.enter(node));
        }
        self.next.sort_unstable();
        self.next.dedup();
        reached.clear();
        self.reached = std::mem::replace(&mut self.next, reached);
        !self.reached.is_empty() || !self.folders.is_empty()
    }

    fn leave(&mut self, node: u32, character: u32, is_slash: bool) {
        let trie = self.trie;
        self.steps += 1 + trie.others(node).len() as u64;
        if trie.stays(node, is_slash) {
            self.enter(node);
        }
        if let Some(to) = trie.literal(node, character) {
            self.enter(to);
        }
        for (token, to) in trie.others(node) {
            let takes = match token {
                Token::One => !is_slash,
                Token::Class(class) => class.contains(character),
                _ => false,
            };
            if takes {
                self.enter(*to);
            }
        }
    }
}

/// Fewer than there are bytes in an ignore file, each of which is no more than one token.
fn short_number(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
