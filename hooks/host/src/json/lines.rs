//! Several events of one text: one a line, as `millstream hook record` writes them, or one event over as many lines as its author likes. Before it: a file;
//! after it: [`super::Event`].
use serde_json::Value;

use super::{Event, EventError};

impl Event {
    /// Reads all events of a text, at most so many, each with the number of the line that it begins on.
    pub fn parse_all(text: &str, most: usize) -> Result<Vec<(usize, Self)>, EventError> {
        let mut values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
        let (mut events, mut at, mut line) = (Vec::new(), 0, 1);
        loop {
            let rest = text.get(at..).unwrap_or_default();
            let blank = rest.len() - rest.trim_start().len();
            line += rest.get(..blank).unwrap_or_default().matches('\n').count();
            let Some(value) = values.next() else { break };
            // The parser counts lines as well.
            let value = value.map_err(|error| EventError::Syntax(error.to_string()))?;
            if events.len() == most {
                return Err(EventError::TooMany { line, most });
            }
            let end = values.byte_offset();
            let is_alone = events.is_empty() && text.get(end..).unwrap_or_default().trim().is_empty();
            let event = Self::from_json(value).map_err(|error| match error {
                error if is_alone => error,
                error => EventError::OfLine { line, error: Box::new(error) },
            })?;
            events.push((line, event));
            line += text.get(at + blank..end).unwrap_or_default().matches('\n').count();
            at = end;
        }
        if events.is_empty() {
            return Err(EventError::Syntax("there is nothing in it".to_owned()));
        }
        Ok(events)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::Question;

    fn names(text: &str) -> Vec<(usize, String)> {
        let name = |(line, event): (usize, Event)| match event.question {
            Question::Auth(request) => (line, request.target.name),
            other => panic!("{other:?}"),
        };
        Event::parse_all(text, 3).unwrap().into_iter().map(name).collect()
    }

    #[test]
    fn one_event_of_many_lines_and_many_of_one_line_are_read() {
        let event = |name: &str| format!(r#"{{"kind": "auth", "request": {{"target": {{"name": "{name}"}}}}}}"#);
        let spread = event("a").replace(": ", ":\n");
        assert_eq!(names(&format!("\n\n{spread}\n")), [(3, "a".to_owned())]);
        let lines = format!("{}\n\n{}\r\n{}", event("a"), event("b"), event("c"));
        assert_eq!(names(&lines), [(1, "a".to_owned()), (3, "b".to_owned()), (4, "c".to_owned())]);
        assert_eq!(names(&format!("{spread}{}", event("b")))[1], (5, "b".to_owned()));
        let refused = |text: &str| Event::parse_all(text, 3).unwrap_err().to_string();
        assert!(refused(&format!("{lines}\n{}", event("d"))).starts_with("line 5: these are more than 3"));
        assert!(refused("").contains("nothing in it"));
        assert!(refused(&format!("{}\n{{\"kind\": ", event("a"))).contains("line 2"));
        let unknown = format!("{}\n\n{}", event("a"), r#"{"kind": "auth", "request": {"who": 1}}"#);
        assert!(refused(&unknown).starts_with("line 3: request.who is no field of an event"), "{}", refused(&unknown));
        assert!(
            refused(r#"{"kind": "auth", "request": {"who": 1}}"#).starts_with("request.who"),
            "one needs no number"
        );
    }
}
