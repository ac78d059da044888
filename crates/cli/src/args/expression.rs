//! Regular expressions as docker's filters have them: Go's, as far as names need them. They are looked for anywhere in the
//! text, and no expression takes long: all ways through it are walked at once.

/// How deep groups may nest.
const NESTING_MAX: usize = 64;
/// How large an expression may become when its repetitions are written out.
const STEPS_MAX: usize = 20_000;
/// Go's limit of a repetition.
const COUNT_MAX: usize = 1000;

/// An expression that can be looked for.
#[derive(Clone, Debug)]
pub(crate) struct Expression(Vec<Step>);

#[derive(Clone, Debug)]
enum Step {
    One(Set),
    Start,
    End,
    Either(usize, usize),
    Jump(usize),
    Found,
}

/// Which characters are taken.
#[derive(Clone, Debug, Default)]
struct Set {
    negated: bool,
    ranges: Vec<(char, char)>,
}

#[derive(Clone, Debug)]
enum Node {
    One(Set),
    Start,
    End,
    All(Vec<Node>),
    Any(Vec<Node>),
    Repeat { node: Box<Node>, least: usize, most: Option<usize> },
}

impl Expression {
    /// Reads one; the error says what is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut reader = Reader { rest: text.chars().collect::<Vec<_>>().into_iter().peekable(), depth: 0 };
        let node = reader.any()?;
        if reader.rest.next().is_some() {
            return Err("a ) closes nothing".to_owned());
        }
        let (mut steps, mut budget) = (Vec::new(), STEPS_MAX);
        emit(&node, &mut steps, &mut budget)?;
        steps.push(Step::Found);
        Ok(Self(steps))
    }

    /// Whether it is found anywhere in `text`.
    pub(crate) fn is_in(&self, text: &str) -> bool {
        let text: Vec<char> = text.chars().collect();
        let mut now = Vec::new();
        for at in 0..=text.len() {
            now.push(0);
            let mut next = Vec::new();
            let mut seen = vec![false; self.0.len()];
            while let Some(step) = now.pop() {
                if seen.get(step).copied().unwrap_or(true) {
                    continue;
                }
                seen[step] = true;
                match &self.0[step] {
                    Step::Found => return true,
                    Step::One(set) if text.get(at).is_some_and(|c| set.takes(*c)) => next.push(step + 1),
                    Step::Start if at == 0 => now.push(step + 1),
                    Step::End if at == text.len() => now.push(step + 1),
                    Step::Either(one, other) => now.extend([*one, *other]),
                    Step::Jump(to) => now.push(*to),
                    Step::One(_) | Step::Start | Step::End => {}
                }
            }
            now = next;
        }
        false
    }
}

impl Set {
    fn takes(&self, c: char) -> bool {
        self.ranges.iter().any(|(from, to)| (*from..=*to).contains(&c)) != self.negated
    }
}

/// Writes the steps of `node`; what is empty takes from the budget, too.
fn emit(node: &Node, steps: &mut Vec<Step>, budget: &mut usize) -> Result<(), String> {
    *budget = budget.checked_sub(1).ok_or_else(|| "it repeats too much".to_owned())?;
    match node {
        Node::One(set) => steps.push(Step::One(set.clone())),
        Node::Start => steps.push(Step::Start),
        Node::End => steps.push(Step::End),
        Node::All(nodes) => nodes.iter().try_for_each(|node| emit(node, steps, budget))?,
        Node::Any(branches) => {
            let mut ends = Vec::new();
            for (at, branch) in branches.iter().enumerate() {
                let fork = steps.len();
                let is_last = at + 1 == branches.len();
                if !is_last {
                    steps.push(Step::Jump(0));
                }
                emit(branch, steps, budget)?;
                if !is_last {
                    ends.push(steps.len());
                    steps.push(Step::Jump(0));
                    steps[fork] = Step::Either(fork + 1, steps.len());
                }
            }
            let end = steps.len();
            ends.into_iter().for_each(|jump| steps[jump] = Step::Jump(end));
        }
        Node::Repeat { node, least, most } => {
            (0..*least).try_for_each(|_| emit(node, steps, budget))?;
            let mut forks = Vec::new();
            for _ in *least..most.unwrap_or(least + 1) {
                forks.push(steps.len());
                steps.push(Step::Jump(0));
                emit(node, steps, budget)?;
            }
            if let (None, Some(fork)) = (most, forks.first()) {
                steps.push(Step::Jump(*fork));
            }
            let end = steps.len();
            forks.into_iter().for_each(|fork| steps[fork] = Step::Either(fork + 1, end));
        }
    }
    Ok(())
}

struct Reader {
    rest: std::iter::Peekable<std::vec::IntoIter<char>>,
    depth: usize,
}

impl Reader {
    fn any(&mut self) -> Result<Node, String> {
        let mut branches = vec![self.all()?];
        while self.rest.next_if_eq(&'|').is_some() {
            branches.push(self.all()?);
        }
        Ok(Node::Any(branches))
    }

    fn all(&mut self) -> Result<Node, String> {
        let mut nodes = Vec::new();
        while let Some(c) = self.rest.next_if(|c| !matches!(c, '|' | ')')) {
            let node = self.one(c)?;
            nodes.push(self.repeated(node)?);
        }
        Ok(Node::All(nodes))
    }

    fn one(&mut self, c: char) -> Result<Node, String> {
        Ok(match c {
            '^' => Node::Start,
            '$' => Node::End,
            '.' => Node::One(Set { negated: true, ranges: vec![('\n', '\n')] }),
            '[' => Node::One(self.class()?),
            '\\' => match self.rest.next() {
                Some('A') => Node::Start,
                Some('z') => Node::End,
                Some(c) => Node::One(escaped(c)?),
                None => return Err("a \\ ends it".to_owned()),
            },
            '(' => self.group()?,
            '*' | '+' | '?' => return Err(format!("there is nothing that {c} could repeat")),
            c => Node::One(Set { negated: false, ranges: vec![(c, c)] }),
        })
    }

    fn group(&mut self) -> Result<Node, String> {
        self.depth += 1;
        if self.depth > NESTING_MAX {
            return Err(format!("its groups are nested more than {NESTING_MAX} deep"));
        }
        if self.rest.next_if_eq(&'?').is_some() && self.rest.next_if_eq(&':').is_none() {
            return Err("of groups that begin with (? there is (?: alone".to_owned());
        }
        let inner = self.any()?;
        self.depth -= 1;
        self.rest.next_if_eq(&')').map(|_| inner).ok_or_else(|| "a ( is never closed".to_owned())
    }

    /// The repetitions behind `node`.
    fn repeated(&mut self, mut node: Node) -> Result<Node, String> {
        loop {
            let (least, most) = match self.rest.peek() {
                Some('*') => (0, None),
                Some('+') => (1, None),
                Some('?') => (0, Some(1)),
                Some('{') => match self.counts() {
                    Some(counts) => counts,
                    None => return Ok(node),
                },
                _ => return Ok(node),
            };
            if most.is_some_and(|most| most < least) || least.max(most.unwrap_or(0)) > COUNT_MAX {
                return Err(format!("a repetition is backwards, or more than {COUNT_MAX}"));
            }
            self.rest.next();
            // To take as few as possible finds the same.
            self.rest.next_if_eq(&'?');
            node = Node::Repeat { node: Box::new(node), least, most };
        }
    }

    /// The numbers of `{2}`, `{2,}`, `{2,5}`, all but the `}` taken; without numbers a brace is one.
    fn counts(&mut self) -> Option<(usize, Option<usize>)> {
        let ahead: String = self.rest.clone().skip(1).take_while(|c| *c != '}').collect();
        let (least, most) = ahead.split_once(',').unwrap_or((&ahead, &ahead));
        let counts = (least.parse().ok()?, if most.is_empty() { None } else { Some(most.parse().ok()?) });
        self.rest.clone().nth(ahead.chars().count() + 1)?;
        self.rest.by_ref().take(ahead.chars().count() + 1).for_each(drop);
        Some(counts)
    }

    /// What stands between brackets.
    fn class(&mut self) -> Result<Set, String> {
        let open = || "a [ is never closed".to_owned();
        let mut set = Set { negated: self.rest.next_if_eq(&'^').is_some(), ranges: Vec::new() };
        let mut is_first = true;
        loop {
            let from = self.rest.next().ok_or_else(open)?;
            if from == ']' && !is_first {
                return Ok(set);
            }
            is_first = false;
            if from == '[' && self.rest.peek() == Some(&':') {
                return Err("[: is not understood here: write a-z, 0-9".to_owned());
            }
            if from == '\\' {
                let inner = escaped(self.rest.next().ok_or_else(open)?)?;
                if inner.negated {
                    return Err("\\D, \\S and \\W are not understood between brackets".to_owned());
                }
                set.ranges.extend(inner.ranges);
                continue;
            }
            let mut ahead = self.rest.clone();
            let to = match (ahead.next(), ahead.next()) {
                (Some('-'), Some(to)) if to != ']' => {
                    self.rest.next();
                    self.rest.next();
                    to
                }
                _ => from,
            };
            if to < from || to == '\\' {
                return Err(format!("{from}-{to} is no range"));
            }
            set.ranges.push((from, to));
        }
    }
}

/// What a character behind `\` means.
fn escaped(c: char) -> Result<Set, String> {
    let ranges = match c.to_ascii_lowercase() {
        'd' => vec![('0', '9')],
        'w' => vec![('0', '9'), ('A', 'Z'), ('a', 'z'), ('_', '_')],
        's' => vec![('\t', '\n'), ('\u{c}', '\r'), (' ', ' ')],
        _ if c.is_ascii_alphanumeric() => return Err(format!("\\{c} is not understood here")),
        _ => vec![(c, c)],
    };
    Ok(Set { negated: c.is_ascii_uppercase(), ranges })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(expression: &str, text: &str) -> bool {
        Expression::parse(expression).unwrap().is_in(text)
    }

    #[test]
    fn expressions_are_found_as_go_finds_them() {
        for (expression, text) in [
            ("e", "web"),
            ("^web$", "web"),
            ("^/web$", "/web"),
            ("w.b", "web"),
            ("", "web"),
            ("b$", "web"),
            ("a|b", "web"),
            ("^(db|web)$", "web"),
            ("^(?:db|web)-[0-9]+$", "web-12"),
            ("we*b", "wb"),
            ("we*b", "weeb"),
            ("we+?b", "weeb"),
            ("we?b", "wb"),
            ("^w[^a-d]b$", "web"),
            ("^w[]e-]b$", "w-b"),
            ("^\\w{3}$", "web"),
            ("^e{2,}$", "eee"),
            ("^e{1,2}$", "ee"),
            ("^web\\.1$", "web.1"),
            ("x{", "x{"),
            ("x{a}", "x{a}"),
            ("^(a|)*$", "aa"),
            ("(a*)*b", "aab"),
            ("\\Aweb\\z", "web"),
            ("^[\\d.]+$", "1.2"),
        ] {
            assert!(found(expression, text), "{expression} {text}");
        }
        for (expression, text) in [
            ("^e", "web"),
            ("web2", "web"),
            ("we$", "web"),
            ("^web$", "web2"),
            ("a|c", "web"),
            ("^(db|web)$", "webs"),
            ("we+b", "wb"),
            ("^e{2}$", "eee"),
            ("^e{1,2}$", "eee"),
            ("web\\.1", "webx1"),
            ("[^a-z]", "web"),
            ("\\D", "12"),
        ] {
            assert!(!found(expression, text), "{expression} {text}");
        }
    }

    #[test]
    fn what_is_no_expression_is_told() {
        for (expression, expected) in [
            ("*", "there is nothing that * could repeat"),
            ("(a", "a ( is never closed"),
            ("a)", "a ) closes nothing"),
            ("[a", "a [ is never closed"),
            ("[b-a]", "b-a is no range"),
            ("a\\", "a \\ ends it"),
            ("\\pL", "\\p is not understood here"),
            ("(?i)a", "of groups that begin with (? there is (?: alone"),
            ("a{2,1}", "a repetition is backwards, or more than 1000"),
            ("((a{1000}){1000}){1000}", "it repeats too much"),
            ("(((){1000}){1000}){1000}", "it repeats too much"),
            (&"(".repeat(1000), "its groups are nested more than 64 deep"),
        ] {
            assert_eq!(Expression::parse(expression).unwrap_err(), expected, "{expression}");
        }
    }

    proptest! {
        #[test]
        fn no_expression_panics_or_takes_long(expression in "[ab(){}|*+?.^$\\\\\\[\\]0-9,-]{0,24}", text in "[ab]{0,24}") {
            if let Ok(expression) = Expression::parse(&expression) {
                expression.is_in(&text);
            }
        }

        #[test]
        fn names_are_found_in_themselves(name in "[a-zA-Z0-9][a-zA-Z0-9_.-]{0,24}") {
            let whole = format!("^{name}$");
            prop_assert!(found(&whole, &name));
        }
    }
}
