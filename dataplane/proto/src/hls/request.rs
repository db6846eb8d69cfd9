//! Delivery directives (§ 6.2.5): the `_HLS_*` parameters of a playlist's URL. Before it: a parsed query; after it: the hub's window, which
//! answers or lets the request wait.
use crate::limits::HLS_NUMBER_DIGITS_MAX;
use crate::query::Params;

const MSN: &str = "_HLS_msn";
const PART: &str = "_HLS_part";
const SKIP: &str = "_HLS_skip";

/// What a player wants a playlist to hold before it is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Until {
    /// The media sequence number of a segment.
    pub msn: u64,
    /// A part of it, from 0; `None` for the whole segment.
    pub part: Option<u64>,
}

/// The directives of one request. Others that begin with `_HLS_` are left to versions to come (§ 6.2.5: a server ignores what it does not
/// know).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Directives {
    /// Blocks until then.
    pub until: Option<Until>,
    /// The player knows an older playlist and takes a delta update.
    pub skip: bool,
}

/// Directives that contradict themselves.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DirectiveError {
    /// A directive stands twice.
    #[error("{0} may stand only once")]
    Twice(&'static str),
    /// Not a decimal number, or one with more digits than [`HLS_NUMBER_DIGITS_MAX`].
    #[error("{0} must be a decimal number of at most {HLS_NUMBER_DIGITS_MAX} digits")]
    Number(&'static str),
    /// A part of no segment (§ 6.2.5.2).
    #[error("{PART} needs {MSN} beside it")]
    PartWithoutMsn,
    /// A kind of delta update that is not known.
    #[error("{SKIP} can only be YES or v2")]
    Skip,
}

impl Directives {
    /// Reads them out of a query.
    pub fn parse(params: &Params) -> Result<Self, DirectiveError> {
        let (msn, part) = (number(params, MSN)?, number(params, PART)?);
        let until = match (msn, part) {
            (None, Some(_)) => return Err(DirectiveError::PartWithoutMsn),
            (msn, part) => msn.map(|msn| Until { msn, part }),
        };
        // "v2" asks that date ranges be skipped as well, of which there are none.
        let skip = match one(params, SKIP)? {
            None => false,
            Some("YES" | "v2") => true,
            Some(_) => return Err(DirectiveError::Skip),
        };
        Ok(Self { until, skip })
    }
}

fn one<'a>(params: &'a Params, name: &'static str) -> Result<Option<&'a str>, DirectiveError> {
    let mut values = params.all(name);
    let first = values.next();
    if values.next().is_some() { Err(DirectiveError::Twice(name)) } else { Ok(first) }
}

fn number(params: &Params, name: &'static str) -> Result<Option<u64>, DirectiveError> {
    let Some(text) = one(params, name)? else { return Ok(None) };
    let digits = (1..=HLS_NUMBER_DIGITS_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits).map(Some).ok_or(DirectiveError::Number(name))
}
