//! Tokens to nodes.

use serde_json::Value;

use super::lex::{self, Kind, Piece, Token};
use super::{Wrong, functions};

/// How deep parentheses and blocks may lie in each other: deeper ones are nobody's wish, and would eat up
/// the stack.
const DEEPEST: usize = 100;

#[derive(Debug)]
pub(super) enum Node {
    Text(String),
    Print(Pipeline),
    /// `if`, or `with`, which makes its value the new dot.
    Branch {
        pipeline: Pipeline,
        is_with: bool,
        body: Vec<Node>,
        otherwise: Vec<Node>,
    },
    Range {
        pipeline: Pipeline,
        body: Vec<Node>,
        otherwise: Vec<Node>,
    },
    Break,
    Continue,
}

/// `$a, $b := command | command`.
#[derive(Debug)]
pub(super) struct Pipeline {
    pub at: usize,
    pub variables: Vec<String>,
    /// `:=` and not `=`.
    pub declares: bool,
    pub commands: Vec<Command>,
}

/// One word, or a function and its arguments.
#[derive(Debug)]
pub(super) struct Command {
    pub at: usize,
    /// At least one.
    pub words: Vec<Term>,
}

#[derive(Debug)]
pub(super) struct Field {
    pub at: usize,
    pub name: String,
}

#[derive(Debug)]
pub(super) enum Term {
    Dot,
    Literal(Value),
    Field(Vec<Field>),
    Variable(String, Vec<Field>),
    Group(Box<Pipeline>, Vec<Field>),
    Function(String),
}

type Tokens = std::iter::Peekable<std::vec::IntoIter<Token>>;

/// The nodes of a whole template.
pub(super) fn parse(text: &str) -> Result<Vec<Node>, Wrong> {
    let mut parser = Parser { pieces: lex::pieces(text)?.into_iter(), depth: 0, ranges: 0 };
    let (nodes, end) = parser.block()?;
    match end {
        Closed::Not => Ok(nodes),
        Closed::ByElse(at, _) => Err(Wrong::new(at, "else without if, with or range")),
        Closed::ByEnd(at) => Err(Wrong::new(at, "end without if, with or range")),
    }
}

/// What closed a list of nodes.
enum Closed {
    Not,
    ByEnd(usize),
    ByElse(usize, Tokens),
}

struct Parser {
    pieces: std::vec::IntoIter<Piece>,
    /// Blocks and parentheses around this place.
    depth: usize,
    /// `range`s around this place.
    ranges: usize,
}

impl Parser {
    fn deeper(&mut self, at: usize) -> Result<(), Wrong> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(Wrong::new(at, format!("nested more than {DEEPEST} deep")));
        }
        Ok(())
    }

    fn block(&mut self) -> Result<(Vec<Node>, Closed), Wrong> {
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.next() {
            let (at, tokens) = match piece {
                Piece::Text(text) => {
                    nodes.push(Node::Text(text));
                    continue;
                }
                Piece::Action { at, tokens } => (at, tokens),
            };
            let mut tokens = tokens.into_iter().peekable();
            let keyword = match tokens.peek().map(|token| &token.kind) {
                Some(Kind::Word(word)) => word.clone(),
                _ => String::new(),
            };
            let known = ["if", "with", "range", "else", "end", "break", "continue"];
            if known.contains(&keyword.as_str()) {
                tokens.next();
            }
            match keyword.as_str() {
                "end" => {
                    nothing_left(&mut tokens)?;
                    return Ok((nodes, Closed::ByEnd(at)));
                }
                "else" => return Ok((nodes, Closed::ByElse(at, tokens))),
                "if" | "with" | "range" => nodes.push(self.branch(&keyword, at, tokens)?),
                "break" | "continue" if self.ranges > 0 => {
                    nothing_left(&mut tokens)?;
                    nodes.push(if keyword == "break" { Node::Break } else { Node::Continue });
                }
                "break" | "continue" => {
                    return Err(Wrong::new(at, format!("{keyword} outside of range")));
                }
                "define" | "template" | "block" => {
                    return Err(Wrong::new(at, format!("{keyword} is not supported here")));
                }
                _ => nodes.push(Node::Print(self.whole_pipeline(at, tokens)?)),
            }
        }
        Ok((nodes, Closed::Not))
    }

    fn branch(&mut self, keyword: &str, at: usize, tokens: Tokens) -> Result<Node, Wrong> {
        self.deeper(at)?;
        let pipeline = self.whole_pipeline(at, tokens)?;
        let is_range = keyword == "range";
        let most = if is_range { 2 } else { 1 };
        if pipeline.variables.len() > most {
            return Err(Wrong::new(at, format!("{keyword} has at most {most} variables")));
        }
        self.ranges += usize::from(is_range);
        let (body, end) = self.block()?;
        self.ranges -= usize::from(is_range);
        let otherwise = self.otherwise(keyword, at, end)?;
        self.depth -= 1;
        Ok(match keyword {
            "range" => Node::Range { pipeline, body, otherwise },
            _ => Node::Branch { pipeline, is_with: keyword == "with", body, otherwise },
        })
    }

    /// What stands behind `else`, up to the `end` that belongs to `keyword`.
    fn otherwise(&mut self, keyword: &str, at: usize, end: Closed) -> Result<Vec<Node>, Wrong> {
        let no_end = || Wrong::new(at, format!("{keyword} without end"));
        let (else_at, mut tokens) = match end {
            Closed::Not => return Err(no_end()),
            Closed::ByEnd(_) => return Ok(Vec::new()),
            Closed::ByElse(at, tokens) => (at, tokens),
        };
        match tokens.next().map(|token| (token.at, token.kind)) {
            None => match self.block()? {
                (nodes, Closed::ByEnd(_)) => Ok(nodes),
                (_, Closed::ByElse(at, _)) => Err(Wrong::new(at, "a second else")),
                (_, Closed::Not) => Err(no_end()),
            },
            // `else if` is an `if` in the else, which shares its end.
            Some((_, Kind::Word(word))) if word == keyword && keyword != "range" => {
                Ok(vec![self.branch(keyword, else_at, tokens)?])
            }
            Some((at, _)) => Err(Wrong::new(at, "this may not stand behind else")),
        }
    }

    /// The pipeline that is all of an action.
    fn whole_pipeline(&mut self, at: usize, mut tokens: Tokens) -> Result<Pipeline, Wrong> {
        let pipeline = self.pipeline(at, &mut tokens)?;
        nothing_left(&mut tokens)?;
        Ok(pipeline)
    }

    fn pipeline(&mut self, at: usize, tokens: &mut Tokens) -> Result<Pipeline, Wrong> {
        let (variables, declares) = variables(tokens);
        let mut commands = vec![self.command(at, tokens)?];
        while let Some(pipe) = tokens.next_if(|token| token.kind == Kind::Pipe) {
            let command = self.command(pipe.at, tokens)?;
            if !matches!(command.words[0], Term::Function(_)) {
                return Err(Wrong::new(command.at, "a function must stand behind a pipe"));
            }
            commands.push(command);
        }
        Ok(Pipeline { at, variables, declares, commands })
    }

    fn command(&mut self, at: usize, tokens: &mut Tokens) -> Result<Command, Wrong> {
        let at = tokens.peek().map_or(at, |token| token.at);
        let mut words = Vec::new();
        while let Some(token) = tokens.next_if(|t| !matches!(t.kind, Kind::Pipe | Kind::Close)) {
            words.push(self.term(token, tokens)?);
        }
        if words.is_empty() {
            return Err(Wrong::new(at, "a value or a function is missing here"));
        }
        Ok(Command { at, words })
    }

    fn term(&mut self, token: Token, tokens: &mut Tokens) -> Result<Term, Wrong> {
        let at = token.at;
        Ok(match token.kind {
            Kind::Dot => Term::Dot,
            Kind::Literal(value) => Term::Literal(value),
            Kind::Word(word) => match word.as_str() {
                "true" => Term::Literal(true.into()),
                "false" => Term::Literal(false.into()),
                "nil" => Term::Literal(Value::Null),
                name if functions::is_known(name) => Term::Function(word),
                _ => {
                    let hint = format!("functions are {}", functions::NAMES.join(" "));
                    let wrong = Wrong::new(at, format!("there is no function {word:?}"));
                    return Err(Wrong { hint: Some(hint), ..wrong });
                }
            },
            Kind::Field(name) => {
                let mut chain = vec![Field { at, name }];
                chain.extend(fields(tokens));
                Term::Field(chain)
            }
            Kind::Variable(name) => Term::Variable(name, fields(tokens)),
            Kind::Open => {
                self.deeper(at)?;
                let pipeline = self.pipeline(at, tokens)?;
                self.depth -= 1;
                let close = tokens.next_if(|token| token.kind == Kind::Close);
                close.ok_or_else(|| Wrong::new(at, "`(` without `)`"))?;
                Term::Group(Box::new(pipeline), fields(tokens))
            }
            Kind::Close | Kind::Pipe | Kind::Comma | Kind::Declare | Kind::Assign => {
                return Err(Wrong::new(at, "this may not stand here"));
            }
        })
    }
}

fn nothing_left(tokens: &mut Tokens) -> Result<(), Wrong> {
    match tokens.next() {
        None => Ok(()),
        Some(token) => Err(Wrong::new(token.at, "nothing may stand here any more")),
    }
}

/// `$a, $b :=` or `$a =`, where a pipeline begins so; else no token is taken.
fn variables(tokens: &mut Tokens) -> (Vec<String>, bool) {
    let mut ahead = tokens.clone();
    let mut names = Vec::new();
    while let Some(Kind::Variable(name)) = ahead.next().map(|token| token.kind) {
        names.push(name);
        match ahead.next().map(|token| token.kind) {
            Some(Kind::Comma) => {}
            Some(kind @ (Kind::Declare | Kind::Assign)) => {
                *tokens = ahead;
                return (names, kind == Kind::Declare);
            }
            _ => break,
        }
    }
    (Vec::new(), false)
}

/// The fields that hang on what stands before them: `.B.C` of `$a.B.C`.
fn fields(tokens: &mut Tokens) -> Vec<Field> {
    let hangs = |token: &Token| token.is_glued && matches!(token.kind, Kind::Field(_));
    let mut fields = Vec::new();
    while let Some(Token { at, kind: Kind::Field(name), .. }) = tokens.next_if(hangs) {
        fields.push(Field { at, name });
    }
    fields
}
