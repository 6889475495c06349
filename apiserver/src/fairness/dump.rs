//! `/debug/api_priority_and_fairness/…`: the levels and queues as they are, in Kubernetes' columns.

use std::sync::atomic::Ordering;

use http::StatusCode;

use super::{
    Fairness,
    described::time,
    level::{Level, Listed},
};
use crate::{
    content,
    request::{ApiRequest, ApiResponse},
};

/// The answer about the levels, the queues or the requests.
pub(crate) fn answer(fairness: &Fairness, what: &str, request: &ApiRequest) -> Option<ApiResponse> {
    let rows = match what {
        "dump_priority_levels" => levels(fairness),
        "dump_queues" => queues(fairness),
        "dump_requests" => {
            let detailed = request.query_value("includeRequestDetails").is_some_and(|value| !value.is_empty());
            requests(fairness, detailed)
        }
        _ => return None,
    };
    Some(content::text(StatusCode::OK, aligned(&rows)))
}

fn levels(fairness: &Fairness) -> Vec<Vec<String>> {
    let mut rows = vec![heads(&[
        "PriorityLevelName",
        "ActiveQueues",
        "IsIdle",
        "IsQuiescing",
        "WaitingRequests",
        "ExecutingRequests",
        "DispatchedRequests",
        "RejectedRequests",
        "TimedoutRequests",
        "CancelledRequests",
    ])];
    for part in &fairness.table().levels {
        let Level { name, counts, .. } = &*part.level;
        let figures = part.level.figures();
        let mut row = vec![
            name.clone(),
            figures.active_queues.to_string(),
            figures.is_idle().to_string(),
            part.quiescing.to_string(),
            figures.waiting.to_string(),
            figures.executing.to_string(),
        ];
        let counted = [&counts.dispatched, &counts.rejected, &counts.timed_out, &counts.cancelled];
        row.extend(counted.map(|count| count.load(Ordering::Relaxed).to_string()));
        rows.push(row);
    }
    rows
}

/// Those that hold or owe something: the others are all alike.
fn queues(fairness: &Fairness) -> Vec<Vec<String>> {
    let mut rows = vec![heads(&[
        "PriorityLevelName",
        "Index",
        "PendingRequests",
        "ExecutingRequests",
        "SeatsInUse",
        "NextDispatchR",
        "InitialSeatsSum",
    ])];
    for part in &fairness.table().levels {
        for queue in part.level.queue_figures() {
            rows.push(vec![
                part.level.name.clone(),
                queue.index.to_string(),
                queue.waiting.to_string(),
                queue.executing.to_string(),
                queue.in_use.to_string(),
                format!("{}.{:06}ss", queue.next_start / 1_000_000, queue.next_start % 1_000_000),
                queue.waiting_width.to_string(),
            ]);
        }
    }
    rows
}

/// Those that wait and those in work. Requests come one after the other here: none has seats or time of its own at its end.
fn requests(fairness: &Fairness, detailed: bool) -> Vec<Vec<String>> {
    let mut first = heads(&[
        "PriorityLevelName",
        "FlowSchemaName",
        "QueueIndex",
        "RequestIndexInQueue",
        "FlowDistingsher",
        "ArriveTime",
        "InitialSeats",
        "FinalSeats",
        "AdditionalLatency",
        "StartTime",
    ]);
    if detailed {
        let more = ["UserName", "Verb", "APIPath", "Namespace", "Name", "APIVersion", "Resource", "SubResource"];
        first.extend(heads(&more));
    }
    let mut rows = vec![first];
    for part in &fairness.table().levels {
        for Listed { queue, place, width, began, who } in part.level.requests() {
            let mut row = vec![
                part.level.name.clone(),
                who.schema.clone(),
                queue.map_or(NOWHERE.to_owned(), |queue| queue.to_string()),
                place.map_or(NOWHERE.to_owned(), |place| place.to_string()),
                who.flow.clone(),
                who.arrived(),
                width.to_string(),
                "0".to_owned(),
                "0s".to_owned(),
                began.map_or(NEVER.to_owned(), time),
            ];
            if detailed {
                row.extend(who.details());
            }
            rows.push(row);
        }
    }
    rows
}

/// In no queue, or at no place of it.
const NOWHERE: &str = "-1";
/// Go's time of what has not happened.
const NEVER: &str = "0001-01-01T00:00:00Z";

fn heads(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// Comma-separated, in columns.
fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| match column + 1 == columns {
            true => cell.clone(),
            false => format!("{:<1$}", format!("{cell},"), width + 2),
        });
        text.extend(cells);
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let rows = [heads(&["Name", "Is", "N"]), heads(&["a", "true", "1"]), heads(&["longer", "x", "12"])];
        assert_eq!(aligned(&rows), "Name,   Is,   N\na,      true, 1\nlonger, x,    12\n");
    }
}
