//! Which events an observer wants to hear of.

use twin_core::event::{Outbound, OutboundKind};
use twin_core::ids::{SiteId, TwinId};
use twin_core::limits::TWIN_ID_BYTES_MAX;
use twin_core::op::Op;
use twin_core::path::Path;
use twin_core::report::PackedReport;

use super::problem::Problem;
use super::query::Query;
use super::segments::parse_site;

/// What the observer asked for; what it did not name passes.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    pub(crate) site: Option<SiteId>,
    pub(crate) twin: Option<TwinId>,
    prefix: Option<String>,
    place: Option<Place>,
}

/// A place in the twin's document.
#[derive(Debug)]
struct Place {
    section: Section,
    path: Path,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Section {
    Tags,
    Desired,
    Reported,
}

impl Filter {
    /// From the query of all twins' events.
    pub(crate) fn of_all(query: &Query) -> Result<Self, Problem> {
        let prefix = query.get("prefix").map(str::to_owned);
        if prefix.as_ref().is_some_and(|prefix| prefix.len() > TWIN_ID_BYTES_MAX) {
            let detail = format!(
                "a twin id has at most {TWIN_ID_BYTES_MAX} characters, so that no twin begins with this prefix"
            );
            return Err(Problem::bad_request("bad-id", detail).with_limit(TWIN_ID_BYTES_MAX as u64));
        }
        Ok(Self { site: query.get("site").map(parse_site).transpose()?, prefix, ..Self::of_twin(None, query)? })
    }

    /// From the query of one twin's events.
    pub(crate) fn of_twin(twin: Option<TwinId>, query: &Query) -> Result<Self, Problem> {
        let place = query.get("path").map(Place::read).transpose()?;
        Ok(Self { twin, place, ..Self::default() })
    }

    pub(crate) fn passes(&self, event: &Outbound) -> bool {
        self.site.as_ref().is_none_or(|site| *site == event.site)
            && self.twin.as_ref().is_none_or(|twin| *twin == event.twin)
            && self.prefix.as_ref().is_none_or(|prefix| event.twin.as_str().starts_with(prefix))
            && self.place.as_ref().is_none_or(|place| place.concerns(&event.kind))
    }
}

impl Place {
    fn read(pointer: &str) -> Result<Self, Problem> {
        let wrong = |why: String| {
            let detail =
                format!("query parameter \"path\": {why}; it is a JSON pointer such as /desired/price or /reported");
            Problem::bad_request("bad-pointer", detail)
        };
        let whole = Path::from_pointer(pointer).map_err(|error| wrong(error.to_string()))?;
        let Some((section, keys)) = whole.keys().split_first() else {
            return Err(wrong("it points at the whole twin".to_owned()));
        };
        let section = match &**section {
            "tags" => Section::Tags,
            "desired" => Section::Desired,
            "reported" => Section::Reported,
            other => return Err(wrong(format!("a twin has no {other:?} that changes"))),
        };
        Ok(Self { section, path: Path::from_keys(keys.iter().cloned()) })
    }

    /// May the event change what stands at the place, or how far it has come? An event is passed on whole: it is a version.
    fn concerns(&self, kind: &OutboundKind) -> bool {
        let touches = |path: &Path| path.covers(&self.path) || self.path.covers(path);
        let changes = |section, ops: &[Op]| self.section == section && ops.iter().any(|op| touches(op.path()));
        let reports = |ops: &PackedReport| self.section == Section::Reported && ops.paths().any(touches);
        match kind {
            // Everything begins and ends with the twin.
            OutboundKind::Created | OutboundKind::Deleted => true,
            OutboundKind::Reported { ops, .. } => reports(ops),
            OutboundKind::Desired { ops, .. } => changes(Section::Desired, ops),
            OutboundKind::Tags { ops, .. } => changes(Section::Tags, ops),
            OutboundKind::Delivered { .. } | OutboundKind::Applied { .. } => self.section == Section::Desired,
            OutboundKind::Rejected { path, .. } => self.section == Section::Desired && touches(path),
            OutboundKind::Attached { .. }
            | OutboundKind::Detached { .. }
            | OutboundKind::Alarm { .. }
            | OutboundKind::Event { .. } => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;
    use twin_core::numbers::{Incarnation, Version, WallTime};

    fn filter(query: &str) -> Result<Filter, &'static str> {
        let request = TestRequest::with_uri(&format!("/x?{query}")).to_http_request();
        let query = Query::read(&request, &["site", "prefix", "path"]).unwrap();
        Filter::of_all(&query).map_err(|problem| problem.code())
    }

    fn event(twin: &str, kind: OutboundKind) -> Outbound {
        let (twin, site) = (TwinId::new(twin).unwrap(), SiteId::new("s").unwrap());
        Outbound { twin, site, incarnation: Incarnation::new(1), at: WallTime::new(1), kind }
    }

    fn reported(pointer: &str) -> OutboundKind {
        let ops = [Op::Set { path: Path::from_pointer(pointer).unwrap(), value: 1.into() }];
        OutboundKind::Reported { version: Version::new(2), ops: PackedReport::from(&ops[..]) }
    }

    fn passes(query: &str, twin: &str, kind: OutboundKind) -> bool {
        filter(query).unwrap().passes(&event(twin, kind))
    }

    #[test]
    fn site_and_prefix_must_both_hold() {
        assert!(passes("", "label-7", OutboundKind::Created));
        assert!(passes("site=s&prefix=label-", "label-7", OutboundKind::Created));
        assert!(!passes("site=t&prefix=label-", "label-7", OutboundKind::Created));
        assert!(!passes("site=s&prefix=label-8", "label-7", OutboundKind::Created));
        assert!(!passes("prefix=label-77", "label-7", OutboundKind::Created));
    }

    #[test]
    fn a_place_hears_of_what_changes_it_from_above_and_below() {
        for (path, touched) in
            [("/reported/a/b", true), ("/reported/a", true), ("/reported", true), ("/reported/a/b/c", true)]
        {
            assert_eq!(passes(&format!("path={path}"), "t", reported("/a/b")), touched, "{path}");
        }
        for path in ["/reported/a/c", "/reported/ab", "/desired/a/b", "/tags"] {
            assert!(!passes(&format!("path={path}"), "t", reported("/a/b")), "{path}");
        }
        let rejected = |pointer| OutboundKind::Rejected {
            path: Path::from_pointer(pointer).unwrap(),
            version: Version::new(1),
            reason: String::new(),
        };
        assert!(passes("path=/desired/p", "t", rejected("/p")) && !passes("path=/desired/p", "t", rejected("/q")));
        let applied = || OutboundKind::Applied { version: Version::new(1) };
        assert!(passes("path=/desired/p", "t", applied()) && !passes("path=/reported/p", "t", applied()));
        assert!(passes("path=/tags/x", "t", OutboundKind::Deleted));
        let button = OutboundKind::Event { name: "button".into(), payload: 1.into() };
        assert!(!passes("path=/reported", "t", button));
    }

    #[test]
    fn a_place_that_is_none_is_refused() {
        for path in ["reported", "/nothing", "/", "/desired/~2"] {
            assert_eq!(filter(&format!("path={path}")).unwrap_err(), "bad-pointer", "{path}");
        }
        assert_eq!(filter(&format!("prefix={}", "x".repeat(129))).unwrap_err(), "bad-id");
    }
}
