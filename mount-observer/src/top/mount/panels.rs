//! What the panels of an opened mount say.

use super::{Shown, moment};
use crate::{
    render::escape::escaped,
    top::{
        look::Incident,
        text::{Line, Tone, left, number, right, safe, short, wrapped},
    },
};

impl Shown<'_> {
    pub(super) fn requests(&self) -> Vec<Line> {
        let superblock = self.superblock;
        let (Some(fuse), false) = (&superblock.fuse, superblock.requests.is_empty()) else {
            let why = match &superblock.fuse {
                Some(_) if superblock.waiting() == 0 => "No request is in flight",
                Some(_) => "Requests wait, and none of them could be read",
                None => "Single requests are seen on FUSE only; who waits is under 2",
            };
            return vec![Line::plain(format!(" {why}"))];
        };
        let row = |age: &str, operation: &str, node: &str, by: &str, place: &str| {
            let (age, operation) = (right(age, 8), left(operation, 16));
            format!(
                "{age}  {operation} {} {} {place}",
                right(node, 8),
                left(by, 24)
            )
        };
        let mut lines = vec![Line::of(
            row("AGE", "OPERATION", "NODE", "BY", "WHERE"),
            Tone::Strong,
        )];
        for request in &superblock.requests {
            let comm = request.comm.as_deref().map(safe).unwrap_or_default();
            let by = match request.pid {
                Some(pid) => format!("{comm}[{pid}]"),
                None => "not known".to_owned(),
            };
            let place = match request.is_at_server {
                Some(true) => "at the server",
                Some(false) => "queued",
                None => "sent",
            };
            let age = request.age_ns.map_or_else(|| "?".to_owned(), short);
            let node = request.nodeid.to_string();
            lines.push(Line::plain(row(
                &age,
                &safe(&request.operation),
                &node,
                &by,
                place,
            )));
        }
        let shown = u64::try_from(superblock.requests.len()).unwrap_or(u64::MAX);
        let all = superblock.in_flight.max(fuse.waiting.map_or(0, u64::from));
        if all > shown {
            lines.push(Line::of(format!("  and {} more", all - shown), Tone::Dim));
        }
        lines
    }

    pub(super) fn blocked(&self, columns: usize) -> Vec<Line> {
        let superblock = self.superblock;
        if superblock.blocked == 0 {
            return vec![Line::plain(" No task waits for it")];
        }
        let mut lines = Vec::new();
        for task in &superblock.blocked_tasks {
            let age = task.age_ns.map_or_else(|| "?".to_owned(), short);
            let thread = if task.tid == task.pid {
                String::new()
            } else {
                format!(" thread {}", task.tid)
            };
            let name = format!("{}[{}]{thread}", safe(&task.comm), task.pid);
            let operation = task
                .operation
                .as_deref()
                .map(|what| format!(" for {}", safe(what)));
            let place = task
                .waits_in
                .as_deref()
                .map(|what| format!(" in {}", safe(what)));
            let rest = format!(
                " {} waits{}{}",
                task.task_state,
                operation.unwrap_or_default(),
                place.unwrap_or_default()
            );
            lines.push(
                Line::plain(format!("{}  ", right(&age, 8)))
                    .and(name, Tone::Strong)
                    .and(rest, Tone::Plain),
            );
            if let Some(cause) = &task.caused_by {
                let text = format!("          really for {}", safe(cause));
                lines.push(Line::of(text, Tone::Warning));
            }
            let stack: Vec<String> = task.stack.iter().map(|function| safe(function)).collect();
            let stack = stack.join(" < ");
            let stack = wrapped(&stack, columns.saturating_sub(11));
            lines.extend(
                (stack.into_iter()).map(|text| Line::of(format!("          {text}"), Tone::Dim)),
            );
        }
        let shown = u64::try_from(superblock.blocked_tasks.len()).unwrap_or(u64::MAX);
        if superblock.blocked > shown {
            let more = superblock.blocked - shown;
            lines.push(Line::of(format!("  and {more} more"), Tone::Dim));
        }
        lines
    }

    /// Failures by operation and errno, those of the last minute first; then what succeeded.
    pub(super) fn errors(&self) -> Vec<Line> {
        let recent = self.book.history.failures(&self.superblock.id);
        let mut rows: Vec<(u64, u64, &str, &str)> = Vec::new();
        let mut succeeded = Vec::new();
        for count in &self.superblock.operations {
            match &count.errno {
                Some(errno) => {
                    let kind = (count.operation.clone(), errno.clone());
                    let lately = recent.get(&kind).copied().unwrap_or_default();
                    rows.push((lately, count.count, &count.operation, errno));
                }
                None => succeeded.push((count.count, count.operation.as_str())),
            }
        }
        rows.sort_by_key(|&(lately, count, operation, errno)| {
            (std::cmp::Reverse((lately, count)), operation, errno)
        });
        succeeded.sort_by_key(|&(count, operation)| (std::cmp::Reverse(count), operation));
        let row = |operation: &str, errno: &str, lately: &str, count: &str| {
            let (operation, errno) = (left(operation, 20), left(errno, 16));
            format!(
                " {operation} {errno} {} {}",
                right(lately, 12),
                right(count, 10)
            )
        };
        let heading = row("OPERATION", "OUTCOME", "LAST MINUTE", "IN ALL");
        let mut lines = vec![Line::of(heading, Tone::Strong)];
        if rows.is_empty() {
            lines.push(Line::plain(
                " Nothing has failed since the observer attached",
            ));
        }
        for (lately, count, operation, errno) in rows {
            let text = row(
                &safe(operation),
                &safe(errno),
                &number(lately),
                &number(count),
            );
            let tone = if lately > 0 {
                Tone::Warning
            } else {
                Tone::Plain
            };
            lines.push(Line::of(text, tone));
        }
        for (count, operation) in succeeded {
            lines.push(Line::of(
                row(&safe(operation), "ok", "", &number(count)),
                Tone::Dim,
            ));
        }
        lines
    }

    pub(super) fn is_own(&self, incident: &Incident) -> bool {
        incident.mount_point == escaped(&self.superblock.mountpoint)
    }

    /// What is behind the state now, and what there was before.
    pub(super) fn alerts(&self, columns: usize) -> Vec<Line> {
        let mut lines = Vec::new();
        for fact in &self.superblock.evidence {
            let said = wrapped(&safe(fact), columns.saturating_sub(4));
            lines.extend(
                said.into_iter()
                    .map(|text| Line::plain(format!(" now: {text}"))),
            );
        }
        let incidents = match &self.book.incidents {
            None => return said(lines, "The history was not told yet"),
            Some(Err(why)) => return said(lines, &format!("No history: {}", safe(why))),
            Some(Ok(incidents)) => incidents,
        };
        let own: Vec<&Incident> = incidents.iter().filter(|one| self.is_own(one)).collect();
        if own.is_empty() {
            return said(lines, "Nothing is remembered of it");
        }
        for incident in own {
            let drill = if incident.is_drill { " (drill)" } else { "" };
            let kind = format!("{} {}{drill}", incident.kind, incident.severity);
            let lasted = match (incident.ended_unix_ns, incident.lasted_ns) {
                (None, _) => " goes on".to_owned(),
                (Some(_), Some(ns)) => format!(" for {}", short(ns)),
                (Some(_), None) => String::new(),
            };
            let why = incident
                .ended_why
                .as_deref()
                .map(|why| format!(", {}", safe(why)));
            let is_open = incident.ended_unix_ns.is_none();
            let tone = if is_open { Tone::Critical } else { Tone::Plain };
            let head = format!(" {}  ", moment(incident.started_unix_ns));
            lines.push(
                Line::plain(head)
                    .and(safe(&kind), tone)
                    .and(format!("{lasted}{}", why.unwrap_or_default()), Tone::Plain),
            );
            let reason = wrapped(&safe(&incident.reason), columns.saturating_sub(4));
            lines.extend(
                (reason.into_iter().take(2)).map(|text| Line::of(format!("   {text}"), Tone::Dim)),
            );
        }
        lines
    }
}

fn said(mut lines: Vec<Line>, text: &str) -> Vec<Line> {
    lines.push(Line::plain(format!(" {text}")));
    lines
}
