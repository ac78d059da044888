//! `--progress=tty`: the whole state, redrawn in place.
//!
//! ```text
//! [+] Building 3.4s (5/9)
//!  => [context] read build context: 12 files, 34kB        0.0s
//!  => CACHED [builder 2/6] WORKDIR /src                   0.0s
//!  => [builder 4/6] RUN go mod download                   3.2s
//!  => => # go: downloading github.com/gin-gonic/gin v1.9.1
//!  => fetching from docker.io/library/golang              3.2s
//!  => => sha256:0123456789ab 12.3MB / 45.6MB 3.9MB/s      3.2s
//! ```

use std::{
    io::{self, Stderr, Write},
    time::Duration,
};

use anstyle::{AnsiColor, Style};
use galley_engine::Event;

use super::{
    Display,
    state::{State, Status, Warned, Work},
    text,
    transfers::Moving,
};
use crate::human;

/// Output lines shown of each running step.
const LOG_LINES: usize = 6;
/// Frames closer than this are left out.
const FRAME: Duration = Duration::from_millis(50);

/// Rows and columns.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    pub(super) rows: usize,
    pub(super) columns: usize,
}

/// Draws frames on `out`.
pub(super) struct Tty<W> {
    out: W,
    size: fn() -> Size,
    colours: bool,
    /// Lines that the next frame replaces.
    drawn: usize,
    last_frame: Option<Duration>,
}

impl Tty<Stderr> {
    pub(super) fn on_terminal(out: Stderr) -> Self {
        let colours = anstream::AutoStream::choice(&out) != anstream::ColorChoice::Never;
        Self { out, size: terminal_size, colours, drawn: 0, last_frame: None }
    }
}

fn terminal_size() -> Size {
    let size = rustix::termios::tcgetwinsize(io::stderr()).ok();
    let (rows, columns) = size.map_or((0, 0), |size| (size.ws_row, size.ws_col));
    let or = |value: u16, otherwise: usize| if value == 0 { otherwise } else { usize::from(value) };
    Size { rows: or(rows, 24), columns: or(columns, 80) }
}

impl<W: Write> Tty<W> {
    #[cfg(test)]
    pub(super) const fn on(out: W, size: fn() -> Size) -> Self {
        Self { out, size, colours: false, drawn: 0, last_frame: None }
    }

    fn frame(&mut self, state: &State, at: Duration, last: bool) -> io::Result<()> {
        let size = (self.size)();
        let mut lines = lines(state, at, size.columns, last);
        if !last {
            shorten(&mut lines, size.rows.saturating_sub(1));
        }
        let mut frame = String::new();
        if self.drawn > 0 {
            frame.push_str(&format!("\x1b[{}A\r\x1b[J", self.drawn));
        }
        for line in &lines {
            frame.push_str(&self.paint(line));
            frame.push('\n');
        }
        self.drawn = lines.len();
        self.last_frame = Some(at);
        self.out.write_all(frame.as_bytes())?;
        self.out.flush()
    }

    fn paint(&self, line: &Line) -> String {
        if !self.colours {
            return line.text.clone();
        }
        let style = line.kind.style();
        format!("{style}{}{style:#}", line.text)
    }
}

impl<W: Write + Send> Display for Tty<W> {
    fn event(&mut self, _event: &Event, state: &State, at: Duration) -> io::Result<()> {
        match self.last_frame {
            Some(last) if at.saturating_sub(last) < FRAME => Ok(()),
            _ => self.frame(state, at, false),
        }
    }

    fn tick(&mut self, state: &State, at: Duration) -> io::Result<()> {
        self.frame(state, at, false)
    }

    fn finish(&mut self, state: &State, at: Duration) -> io::Result<()> {
        if !state.work.is_empty() {
            self.frame(state, at, true)?;
        }
        for warned in state.warnings.iter().filter(|warned| warned.rule.is_none()) {
            self.out.write_all(warning(warned).as_bytes())?;
        }
        self.out.write_all(state.findings().as_bytes())?;
        self.out.flush()
    }
}

fn warning(warned: &Warned) -> String {
    let place = warned.place.as_ref().map_or_else(String::new, |place| format!("\n --> {place}"));
    let help = warned.help.as_ref().map_or_else(String::new, |help| format!("\n  = help: {help}"));
    format!("warning: {}{place}{help}\n", warned.message)
}

/// What a line is about decides its colour and what goes when the screen is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Head,
    Over,
    Running,
    Moving,
    Log,
    Failed,
}

impl Kind {
    const fn style(self) -> Style {
        match self {
            Self::Head | Self::Running | Self::Moving => Style::new(),
            Self::Over => AnsiColor::Blue.on_default(),
            Self::Log => Style::new().dimmed(),
            Self::Failed => AnsiColor::Red.on_default(),
        }
    }
}

struct Line {
    kind: Kind,
    text: String,
}

fn lines(state: &State, at: Duration, columns: usize, last: bool) -> Vec<Line> {
    let failed = state.work.iter().any(|work| matches!(work.status, Status::Failed(_)));
    let end = match (last, failed) {
        (true, false) => " FINISHED",
        (true, true) => " FAILED",
        (false, _) => "",
    };
    let (doing, took) = (state.doing(), human::seconds(at));
    let head = format!("[+] {doing} {took} ({}/{}){end}", state.done(), state.work.len());
    let mut lines = vec![Line { kind: Kind::Head, text: text::fit(&head, columns) }];
    let mut begun: Vec<&Work> = state.work.iter().filter(|work| work.number > 0).collect();
    begun.sort_by_key(|work| work.number);
    for work in begun {
        lines.push(line(work, at, columns));
        if work.status == Status::Running {
            lines.extend(work.transfers.iter().map(|moving| transfer(moving, at, columns)));
            let hidden = work.tail.len().saturating_sub(LOG_LINES);
            for (_, output) in work.tail.iter().skip(hidden) {
                lines.push(Line { kind: Kind::Log, text: text::fit(&format!(" => => # {output}"), columns) });
            }
        }
    }
    lines
}

fn transfer(moving: &Moving, at: Duration, columns: usize) -> Line {
    let text = format!(" => => {}", moving.describe(at));
    let kind = if moving.is_over() { Kind::Over } else { Kind::Moving };
    Line { kind, text: beside(&text, &human::seconds(moving.took(at)), columns) }
}

fn line(work: &Work, at: Duration, columns: usize) -> Line {
    let (kind, mark, took) = match &work.status {
        Status::Cached(_) => (Kind::Over, "CACHED ", Duration::ZERO),
        Status::Done(took) => (Kind::Over, "", *took),
        Status::Failed(_) => (Kind::Failed, "ERROR ", at.saturating_sub(work.started)),
        Status::Waiting | Status::Running => (Kind::Running, "", at.saturating_sub(work.started)),
    };
    let from = match &work.status {
        Status::Cached(Some(from)) => format!(" from {from}"),
        _ => String::new(),
    };
    let text = format!(" => {mark}{}{from}", work.name);
    Line { kind, text: beside(&text, &human::seconds(took), columns) }
}

/// `text` on the left, `took` on the right.
fn beside(text: &str, took: &str, columns: usize) -> String {
    let room = columns.saturating_sub(took.len() + 1);
    let text = text::fit(text, room);
    let width = unicode_width::UnicodeWidthStr::width(text.as_str());
    let gap = " ".repeat(room.saturating_sub(width) + 1);
    format!("{text}{gap}{took}")
}

/// Makes a frame fit: finished steps go first, the oldest before the newer, then the output of running ones.
fn shorten(lines: &mut Vec<Line>, rows: usize) {
    for kind in [Kind::Over, Kind::Log, Kind::Moving, Kind::Running] {
        let mut excess = lines.len().saturating_sub(rows.max(1));
        lines.retain(|line| {
            let goes = excess > 0 && line.kind == kind;
            excess -= usize::from(goes);
            !goes
        });
    }
}
