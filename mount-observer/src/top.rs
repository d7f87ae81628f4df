//! The full screen: what is wrong with which mount, live.
//!
//! A reader of snapshots, whoever takes them. State and keys make the next state, state and size make
//! lines; nothing here knows a terminal. Ages and rates are those of the snapshot that is shown, and
//! one that is old, or held on purpose, is said to be so: silence is not health.

mod heat;
mod help;
mod history;
mod list;
pub mod look;
mod mount;
mod page;
#[cfg(feature = "daemon")]
pub mod screen;
mod text;

use self::history::History;
pub use self::{
    look::{Incident, Incidents, Look},
    page::lines,
    text::{Line, Tone},
};
use crate::time::{Mono, Now};

/// A snapshot that is older than this is said to be old, ns: three looks that did not come.
const OLD_NS: u64 = 3_500_000_000;
/// Letters of a filter.
const FILTER_MAX: usize = 100;

/// A key, as far as it means something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// A letter.
    Char(char),
    Up,
    Down,
    PageUp,
    PageDown,
    Home,
    End,
    Enter,
    Esc,
    /// The next panel.
    Tab,
    /// The one before.
    BackTab,
    Backspace,
    /// Ctrl-C: ends it wherever one is.
    Interrupt,
}

/// What is to be done after a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Go on.
    Stay,
    /// End.
    Quit,
}

/// What a source of snapshots tells.
#[derive(Clone, Debug)]
pub enum News {
    /// A snapshot.
    Look(Box<Look>),
    /// The alerts that are remembered, the latest first, or why there are none to be had.
    Incidents(Result<Vec<Incident>, String>),
    /// It has nothing to tell, and why.
    Trouble(String),
}

/// What the list is ordered by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Order {
    #[default]
    Badness,
    Operations,
    Errors,
    P99,
    Waiting,
    MountPoint,
}

impl Order {
    const ALL: [Self; 6] = [
        Self::Badness,
        Self::Operations,
        Self::Errors,
        Self::P99,
        Self::Waiting,
        Self::MountPoint,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Badness => "badness",
            Self::Operations => "operations",
            Self::Errors => "errors",
            Self::P99 => "p99",
            Self::Waiting => "oldest request",
            Self::MountPoint => "mount point",
        }
    }

    fn next(self) -> Self {
        let at = Self::ALL.iter().position(|order| *order == self);
        let next = at.and_then(|at| Self::ALL.get(at + 1));
        next.copied().unwrap_or_default()
    }
}

/// What of an opened mount is in front.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Panel {
    #[default]
    Requests,
    Blocked,
    Errors,
    Latency,
    Alerts,
}

impl Panel {
    const ALL: [Self; 5] = [
        Self::Requests,
        Self::Blocked,
        Self::Errors,
        Self::Latency,
        Self::Alerts,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Blocked => "blocked",
            Self::Errors => "errors",
            Self::Latency => "latency",
            Self::Alerts => "alerts",
        }
    }

    fn step(self, forth: bool) -> Self {
        let mut panels = Self::ALL.to_vec();
        if !forth {
            panels.reverse();
        }
        let mut panels = panels.into_iter().cycle();
        panels.find(|panel| *panel == self);
        panels.next().unwrap_or_default()
    }
}

/// Which page is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Page {
    /// All mounts.
    #[default]
    List,
    /// One superblock, by its id.
    Mount(String, Panel),
    /// What the keys and the columns mean.
    Help,
    /// What the observer knows about itself.
    Observer,
}

/// What was told until now, or until it was held.
#[derive(Clone, Debug, Default)]
struct Book {
    look: Option<Box<Look>>,
    history: History,
    incidents: Option<Result<Vec<Incident>, String>>,
}

/// The state of the screen.
#[derive(Clone, Debug, Default)]
pub struct Top {
    /// Where snapshots come from: `daemon at http://127.0.0.1:9967`.
    source: String,
    live: Book,
    /// What is shown while it is held, and since when.
    held: Option<(Box<Book>, Mono)>,
    /// When the last new snapshot came.
    heard: Option<Mono>,
    /// When the first was waited for.
    began: Mono,
    trouble: Option<String>,
    page: Page,
    order: Order,
    filter: String,
    is_typing: bool,
    /// The row that the keys are on, by its id.
    selected: Option<String>,
    /// Lines that are above the top of the page.
    scroll: usize,
}

impl Top {
    /// Nothing told yet.
    pub fn new(source: String, now: Now) -> Self {
        Self {
            source,
            began: now.mono,
            ..Self::default()
        }
    }

    /// Takes what a source tells.
    pub fn take(&mut self, now: Now, news: News) {
        match news {
            News::Look(look) => {
                if self.live.history.take(&look) {
                    self.heard = Some(now.mono);
                    self.trouble = None;
                    self.live.look = Some(look);
                } else {
                    let why = "it answers with the same snapshot again: its loop makes no progress";
                    self.trouble = Some(why.to_owned());
                }
            }
            News::Incidents(incidents) => self.live.incidents = Some(incidents),
            News::Trouble(why) => self.trouble = Some(why),
        }
    }

    /// What is shown: what was told last, or held.
    fn book(&self) -> &Book {
        self.held.as_ref().map_or(&self.live, |(book, _)| book)
    }

    /// How long no new snapshot came, where that is too long, ns.
    fn silent_ns(&self, now: Now) -> Option<u64> {
        let since = now.mono.since(self.heard.unwrap_or(self.began));
        let silent = crate::time::nanos(since);
        (silent >= OLD_NS).then_some(silent)
    }

    /// Takes a key.
    pub fn press(&mut self, now: Now, key: Key) -> Step {
        if key == Key::Interrupt {
            return Step::Quit;
        }
        if self.is_typing {
            self.type_filter(key);
            return Step::Stay;
        }
        match key {
            Key::Char('q') => return Step::Quit,
            Key::Char('p') => self.hold(now),
            Key::Char('?' | 'h') => self.turn_to(Page::Help),
            Key::Char('o') => self.turn_to(Page::Observer),
            Key::Up | Key::Char('k') => self.go(-1),
            Key::Down | Key::Char('j') => self.go(1),
            Key::PageUp => self.go(-10),
            Key::PageDown | Key::Char(' ') => self.go(10),
            Key::Home | Key::Char('g') => self.go(isize::MIN),
            Key::End | Key::Char('G') => self.go(isize::MAX),
            Key::Char(letter) => self.press_letter(letter),
            Key::Enter => self.open(),
            Key::Tab => self.turn_panel(true),
            Key::BackTab => self.turn_panel(false),
            Key::Esc | Key::Backspace => self.back(),
            Key::Interrupt => {}
        }
        Step::Stay
    }

    fn press_letter(&mut self, letter: char) {
        let panel = letter.to_digit(10).and_then(|digit| {
            let index = usize::try_from(digit).ok()?.checked_sub(1)?;
            Panel::ALL.get(index).copied()
        });
        match (&mut self.page, letter, panel) {
            (Page::List, 's', _) => {
                self.order = self.order.next();
                self.selected = None;
            }
            (Page::List, '/', _) => self.is_typing = true,
            (Page::Mount(_, shown), _, Some(panel)) => {
                *shown = panel;
                self.scroll = 0;
            }
            _ => {}
        }
    }

    fn type_filter(&mut self, key: Key) {
        self.is_typing = !matches!(key, Key::Enter | Key::Esc);
        if key == Key::Esc {
            self.filter.clear();
        } else if key == Key::Backspace {
            self.filter.pop();
        } else if let Key::Char(letter) = key
            && self.filter.len() < FILTER_MAX
        {
            self.filter.push(letter);
        }
    }

    fn hold(&mut self, now: Now) {
        self.held = match self.held.take() {
            Some(_) => None,
            None => Some((Box::new(self.live.clone()), now.mono)),
        };
    }

    fn turn_to(&mut self, page: Page) {
        let is_there = self.page == page;
        self.scroll = 0;
        self.page = if is_there { Page::List } else { page };
    }

    fn turn_panel(&mut self, forth: bool) {
        if let Page::Mount(_, panel) = &mut self.page {
            *panel = panel.step(forth);
            self.scroll = 0;
        }
    }

    fn open(&mut self) {
        if self.page != Page::List {
            return;
        }
        let rows = list::rows(self);
        let row = rows.get(self.selected_row(&rows)).filter(|row| row.opens);
        if let Some(id) = row.map(|row| row.id.clone()) {
            self.selected = Some(id.clone());
            self.turn_to(Page::Mount(id, Panel::default()));
        }
    }

    /// One page back; on the list, without the filter.
    fn back(&mut self) {
        if self.page == Page::List {
            self.filter.clear();
        }
        self.page = Page::List;
        self.scroll = 0;
    }

    /// Moves by rows of the list, or by lines of a page.
    fn go(&mut self, by: isize) {
        if self.page != Page::List {
            // The page itself knows its end.
            self.scroll = self.scroll.saturating_add_signed(by);
            return;
        }
        let rows = list::rows(self);
        let at = self.selected_row(&rows).saturating_add_signed(by);
        let row = rows.get(at).or(rows.last());
        self.selected = row.map(|row| row.id.clone());
    }

    /// Which row the keys are on; the first, where it is gone.
    fn selected_row(&self, rows: &[list::Row]) -> usize {
        let selected = self.selected.as_ref();
        let is_it = |row: &list::Row| Some(&row.id) == selected;
        rows.iter().position(is_it).unwrap_or(0)
    }
}

// They look at it on a screen.
#[cfg(feature = "daemon")]
#[cfg(test)]
mod tests;
