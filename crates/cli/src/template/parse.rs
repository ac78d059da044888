//! Tokens to nodes.

use std::ops::Range;

use serde_json::Value;

use super::{
    TemplateError, functions,
    lex::{Token, TokenKind},
};

/// How deep blocks and parentheses may nest.
const NESTING_MAX: usize = 64;

#[derive(Debug)]
pub(super) enum Node {
    Text(String),
    /// Prints the value; with a variable it is kept instead.
    Action {
        variable: Option<String>,
        pipeline: Pipeline,
    },
    If {
        condition: Pipeline,
        then: Vec<Node>,
        otherwise: Vec<Node>,
    },
    With {
        variable: Option<String>,
        pipeline: Pipeline,
        then: Vec<Node>,
        otherwise: Vec<Node>,
    },
    Range {
        variables: Vec<String>,
        pipeline: Pipeline,
        body: Vec<Node>,
        otherwise: Vec<Node>,
    },
}

/// Commands, each of which gets the result of the one before as its last argument.
#[derive(Debug)]
pub(super) struct Pipeline(pub(super) Vec<Command>);

#[derive(Debug)]
pub(super) struct Command {
    pub(super) operands: Vec<Operand>,
    pub(super) span: Range<usize>,
}

/// One argument: something, and the fields taken from it.
#[derive(Debug)]
pub(super) struct Operand {
    pub(super) base: Base,
    pub(super) fields: Vec<(String, Range<usize>)>,
    pub(super) span: Range<usize>,
}

#[derive(Debug)]
pub(super) enum Base {
    Dot,
    Variable(String),
    Literal(Value),
    Function(String),
    Group(Pipeline),
}

/// The nodes of a whole template.
pub(super) fn parse(tokens: Vec<Token>) -> Result<Vec<Node>, TemplateError> {
    let mut parser = Parser { tokens, at: 0, depth: 0 };
    let (nodes, end) = parser.block()?;
    match end {
        BlockEnd::Text => Ok(nodes),
        BlockEnd::End(span) => Err(TemplateError::new(span, "there is no if, range or with to end")),
        BlockEnd::Else(span) => {
            Err(TemplateError::new(span, "there is no if, range or with before this else"))
        }
    }
}

/// What ended a list of nodes.
enum BlockEnd {
    Text,
    End(Range<usize>),
    Else(Range<usize>),
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
}

impl Parser {
    fn peek(&self) -> Option<&TokenKind> {
        self.tokens.get(self.at).map(|token| &token.kind)
    }

    fn next(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.at).cloned();
        self.at += 1;
        token
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(TokenKind::Space)) {
            self.at += 1;
        }
    }

    fn span(&self) -> Range<usize> {
        let last = self.tokens.last().map_or(0..0, |token| token.span.clone());
        self.tokens.get(self.at).map_or(last, |token| token.span.clone())
    }

    fn error(&self, message: impl Into<String>) -> TemplateError {
        TemplateError::new(self.span(), message)
    }

    fn deeper(&mut self) -> Result<(), TemplateError> {
        self.depth += 1;
        if self.depth > NESTING_MAX {
            return Err(self.error(format!("nested more than {NESTING_MAX} deep")));
        }
        Ok(())
    }

    fn block(&mut self) -> Result<(Vec<Node>, BlockEnd), TemplateError> {
        self.deeper()?;
        let mut nodes = Vec::new();
        while let Some(token) = self.next() {
            match token.kind {
                TokenKind::Text(text) => nodes.push(Node::Text(text)),
                _ => {
                    self.skip_space();
                    if let Some(end) = self.action(&mut nodes)? {
                        self.depth -= 1;
                        return Ok((nodes, end));
                    }
                }
            }
        }
        self.depth -= 1;
        Ok((nodes, BlockEnd::Text))
    }

    /// One action after its `{{`.
    fn action(&mut self, nodes: &mut Vec<Node>) -> Result<Option<BlockEnd>, TemplateError> {
        let span = self.span();
        let word = match self.peek() {
            Some(TokenKind::Word(word)) => word.clone(),
            _ => String::new(),
        };
        match word.as_str() {
            "end" => {
                self.at += 1;
                self.close()?;
                return Ok(Some(BlockEnd::End(span)));
            }
            "else" => {
                self.at += 1;
                return Ok(Some(BlockEnd::Else(span)));
            }
            "if" | "range" | "with" => {
                self.at += 1;
                nodes.push(self.control(&word, &span)?);
            }
            "define" | "template" | "block" | "break" | "continue" => {
                return Err(self.error(format!("{word} is not supported in --format yet")));
            }
            _ => nodes.push(self.statement()?),
        }
        Ok(None)
    }

    fn statement(&mut self) -> Result<Node, TemplateError> {
        let mut variables = self.variables()?;
        let pipeline = self.pipeline()?;
        self.close()?;
        Ok(Node::Action { variable: variables.pop(), pipeline })
    }

    fn control(&mut self, word: &str, span: &Range<usize>) -> Result<Node, TemplateError> {
        let mut variables = self.variables()?;
        let pipeline = self.pipeline()?;
        self.close()?;
        let (then, end) = self.block()?;
        let otherwise = match end {
            BlockEnd::End(_) => Vec::new(),
            BlockEnd::Else(_) => self.otherwise(span)?,
            BlockEnd::Text => return Err(unended(word, span)),
        };
        Ok(match word {
            "range" => Node::Range { variables, pipeline, body: then, otherwise },
            "with" => Node::With { variable: variables.pop(), pipeline, then, otherwise },
            _ => Node::If { condition: pipeline, then, otherwise },
        })
    }

    /// What comes after `{{else`: `}}`, or another condition.
    fn otherwise(&mut self, span: &Range<usize>) -> Result<Vec<Node>, TemplateError> {
        self.skip_space();
        let word = match self.peek() {
            Some(TokenKind::Word(word)) if word == "if" || word == "with" => word.clone(),
            _ => {
                self.close()?;
                return match self.block()? {
                    (nodes, BlockEnd::End(_)) => Ok(nodes),
                    (_, BlockEnd::Else(second)) => Err(TemplateError::new(second, "a second else")),
                    (_, BlockEnd::Text) => Err(unended("else", span)),
                };
            }
        };
        self.at += 1;
        self.deeper()?;
        let node = self.control(&word, span);
        self.depth -= 1;
        Ok(vec![node?])
    }

    fn close(&mut self) -> Result<(), TemplateError> {
        self.skip_space();
        match self.peek() {
            Some(TokenKind::Close) => {
                self.at += 1;
                Ok(())
            }
            _ => Err(self.error("expected }} here")),
        }
    }

    /// `$a, $b :=`, when that is what comes.
    fn variables(&mut self) -> Result<Vec<String>, TemplateError> {
        let start = self.at;
        let mut names = Vec::new();
        loop {
            self.skip_space();
            let Some(TokenKind::Variable(name)) = self.peek() else { break };
            names.push(name.clone());
            self.at += 1;
            self.skip_space();
            match self.peek() {
                Some(TokenKind::Mark(',')) if names.len() < 2 => self.at += 1,
                Some(TokenKind::Declare | TokenKind::Assign) => {
                    self.at += 1;
                    return Ok(names);
                }
                _ => break,
            }
        }
        self.at = start;
        Ok(Vec::new())
    }

    fn pipeline(&mut self) -> Result<Pipeline, TemplateError> {
        self.deeper()?;
        let mut commands = vec![self.command()?];
        while matches!(self.peek(), Some(TokenKind::Mark('|'))) {
            self.at += 1;
            commands.push(self.command()?);
        }
        self.depth -= 1;
        Ok(Pipeline(commands))
    }

    fn command(&mut self) -> Result<Command, TemplateError> {
        self.skip_space();
        let start = self.span();
        let mut operands = Vec::new();
        while let Some(operand) = self.operand()? {
            operands.push(operand);
            self.skip_space();
        }
        match operands.last() {
            Some(last) => Ok(Command { span: start.start..last.span.end, operands }),
            None => Err(self.error("expected a field, a function or a value here")),
        }
    }

    fn operand(&mut self) -> Result<Option<Operand>, TemplateError> {
        let mut span = self.span();
        let mut fields = Vec::new();
        let base = match self.peek().cloned() {
            Some(TokenKind::Dot) => Base::Dot,
            Some(TokenKind::Field(name)) => {
                fields.push((name, span.clone()));
                Base::Dot
            }
            Some(TokenKind::Variable(name)) => Base::Variable(name),
            Some(TokenKind::Literal(value)) => Base::Literal(value),
            Some(TokenKind::Word(name)) if functions::known(&name) => Base::Function(name),
            Some(TokenKind::Word(name)) => return Err(self.error(functions::unknown(&name))),
            Some(TokenKind::Mark('(')) => {
                self.at += 1;
                Base::Group(self.group()?)
            }
            _ => return Ok(None),
        };
        self.at += 1;
        while let Some(TokenKind::Field(name)) = self.peek().cloned() {
            fields.push((name, self.span()));
            span.end = self.span().end;
            self.at += 1;
        }
        Ok(Some(Operand { base, fields, span }))
    }

    /// The inside of parentheses; the closing one is left for the caller.
    fn group(&mut self) -> Result<Pipeline, TemplateError> {
        let pipeline = self.pipeline()?;
        match self.peek() {
            Some(TokenKind::Mark(')')) => Ok(pipeline),
            _ => Err(self.error("expected ) here")),
        }
    }
}

fn unended(word: &str, span: &Range<usize>) -> TemplateError {
    TemplateError::new(span.clone(), format!("this {word} has no {{{{end}}}}"))
}
