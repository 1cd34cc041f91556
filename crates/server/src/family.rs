//! The families of routes, by the beginnings of their paths.

/// Which family of routes a path belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// What apps and admins ask.
    Api,
    /// The same, as OAuth has it.
    OAuth,
    /// Pages of the console.
    Console,
    /// Other pages, documents, and what tells how the server is.
    Elsewhere,
}

impl Family {
    pub(crate) fn of(path: &str) -> Self {
        let within = |root: &str| path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        if within("/v1") {
            Self::Api
        } else if within("/oauth") {
            Self::OAuth
        } else if within("/console") {
            Self::Console
        } else {
            Self::Elsewhere
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beginnings_are_whole_segments() {
        assert_eq!(Family::of("/v1"), Family::Api);
        assert_eq!(Family::of("/v1/tokens"), Family::Api);
        assert_eq!(Family::of("/v10"), Family::Elsewhere);
        assert_eq!(Family::of("/oauth/revoke"), Family::OAuth);
    }
}
