//! The rules, on the syntax tree of one file at a time: no side effects, no files. What is only compiled for tests may
//! unwrap and print.

use std::path::Path;

use proc_macro2::Span;
use serde::Serialize;
use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};
use syn::{
    Attribute, ExprMethodCall, ExprUnsafe, File, ImplItemFn, Item, ItemFn, ItemMod, Macro, Meta,
    Visibility,
};

/// Something that a rule forbids, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub file: String,
    pub line: usize,
    pub column: usize,
    pub rule: &'static str,
    pub message: String,
}

/// A test function: its name with its modules, as the test binary lists it, and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Test {
    pub name: String,
    file: String,
    line: usize,
}

/// What there is to say about one file.
#[derive(Debug, Default)]
pub struct Found {
    pub findings: Vec<Finding>,
    pub tests: Vec<Test>,
}

/// Checks one file.
pub fn check(path: &str, source: &str, max_lines: usize) -> Found {
    let tree: File = match syn::parse_file(source) {
        Ok(tree) => tree,
        Err(error) => {
            let mut checker = Checker::new(path, max_lines);
            checker.find(error.span(), "syntax", error.to_string());
            return checker.found;
        }
    };
    let mut checker = Checker::new(path, max_lines);
    if !documented(&tree.attrs) {
        checker.find(
            Span::call_site(),
            "missing-docs",
            "the file does not say what it is for".to_owned(),
        );
    }
    checker.visit_file(&tree);
    checker.found
}

/// Tests that are run by none of the filters, or by several: they would be left out unseen, or run twice.
pub fn unshared<'a>(tests: &'a [Test], shards: &'a [String]) -> impl Iterator<Item = Finding> + 'a {
    tests.iter().filter_map(move |test| {
        let times = shards
            .iter()
            .filter(|filter| test.name.contains(filter.as_str()))
            .count();
        let trouble = match times {
            _ if shards.is_empty() => return None,
            0 => "is run by no shard",
            1 => return None,
            _ => "is run by several shards",
        };
        let message = format!("`{}` {trouble} of {shards:?}", test.name);
        Some(Finding {
            file: test.file.clone(),
            line: test.line,
            column: 1,
            rule: "unshared-test",
            message,
        })
    })
}

struct Checker<'a> {
    path: &'a str,
    max_lines: usize,
    /// The modules around the place of the visit.
    modules: Vec<String>,
    /// Whether that place is compiled for tests only.
    testing: bool,
    found: Found,
}

impl Checker<'_> {
    fn new(path: &str, max_lines: usize) -> Checker<'_> {
        let in_tests = path.split('/').any(|part| part == "tests");
        Checker {
            path,
            max_lines,
            modules: module_path(path),
            testing: in_tests,
            found: Found::default(),
        }
    }

    fn find(&mut self, span: Span, rule: &'static str, message: String) {
        let start = span.start();
        let (line, column) = (start.line.max(1), start.column + 1);
        self.found.findings.push(Finding {
            file: self.path.to_owned(),
            line,
            column,
            rule,
            message,
        });
    }

    fn docs(&mut self, visibility: &Visibility, attributes: &[Attribute], span: Span, what: &str) {
        if matches!(visibility, Visibility::Public(_)) && !documented(attributes) && !self.testing {
            self.find(
                span,
                "missing-docs",
                format!("{what} is public and not documented"),
            );
        }
    }

    fn function(&mut self, name: &syn::Ident, span: Span) {
        let lines = span.end().line - span.start().line + 1;
        if lines > self.max_lines {
            let message = format!("`{name}` has {lines} lines, more than {}", self.max_lines);
            self.find(name.span(), "long-function", message);
        }
    }
}

impl<'ast> Visit<'ast> for Checker<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        let outer = self.testing;
        self.testing |= for_tests(attributes(item));
        match item {
            Item::Struct(item) => self.docs(
                &item.vis,
                &item.attrs,
                item.ident.span(),
                &format!("`{}`", item.ident),
            ),
            Item::Enum(item) => self.docs(
                &item.vis,
                &item.attrs,
                item.ident.span(),
                &format!("`{}`", item.ident),
            ),
            Item::Trait(item) => self.docs(
                &item.vis,
                &item.attrs,
                item.ident.span(),
                &format!("`{}`", item.ident),
            ),
            Item::Const(item) => self.docs(
                &item.vis,
                &item.attrs,
                item.ident.span(),
                &format!("`{}`", item.ident),
            ),
            Item::Type(item) => self.docs(
                &item.vis,
                &item.attrs,
                item.ident.span(),
                &format!("`{}`", item.ident),
            ),
            _ => {}
        }
        visit::visit_item(self, item);
        self.testing = outer;
    }

    fn visit_item_mod(&mut self, module: &'ast ItemMod) {
        self.modules.push(module.ident.to_string());
        visit::visit_item_mod(self, module);
        self.modules.pop();
    }

    fn visit_item_fn(&mut self, function: &'ast ItemFn) {
        let name = &function.sig.ident;
        self.docs(
            &function.vis,
            &function.attrs,
            name.span(),
            &format!("`{name}`"),
        );
        self.function(name, function.span());
        if function
            .attrs
            .iter()
            .any(|attribute| attribute.path().is_ident("test"))
        {
            let full = self
                .modules
                .iter()
                .cloned()
                .chain([name.to_string()])
                .collect::<Vec<_>>()
                .join("::");
            let line = name.span().start().line;
            self.found.tests.push(Test {
                name: full,
                file: self.path.to_owned(),
                line,
            });
        }
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast ImplItemFn) {
        let name = &function.sig.ident;
        self.docs(
            &function.vis,
            &function.attrs,
            name.span(),
            &format!("`{name}`"),
        );
        self.function(name, function.span());
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_expr_method_call(&mut self, call: &'ast ExprMethodCall) {
        if !self.testing && ["unwrap", "expect"].iter().any(|name| call.method == name) {
            let message = format!("`.{}()` can panic: return an error instead", call.method);
            self.find(call.method.span(), "no-unwrap", message);
        }
        visit::visit_expr_method_call(self, call);
    }

    fn visit_expr_unsafe(&mut self, block: &'ast ExprUnsafe) {
        self.find(
            block.unsafe_token.span(),
            "no-unsafe",
            "unsafe code has no place in this crate".to_owned(),
        );
        visit::visit_expr_unsafe(self, block);
    }

    fn visit_macro(&mut self, call: &'ast Macro) {
        let printing = [
            "print",
            "println",
            "eprint",
            "eprintln",
            "dbg",
            "todo",
            "unimplemented",
        ];
        if let Some(name) = printing
            .iter()
            .find(|name| call.path.is_ident(name))
            .filter(|_| !self.testing)
        {
            self.find(
                call.path.span(),
                "no-print",
                format!("`{name}!` does not belong into a library"),
            );
        }
        visit::visit_macro(self, call);
    }
}

/// The modules that a file stands for: `src/a/b.rs` is `a::b`, `tests/c.rs` is `c`, `src/lib.rs` is none.
fn module_path(path: &str) -> Vec<String> {
    let inner = path
        .rsplit_once("src/")
        .or_else(|| path.rsplit_once("tests/"))
        .map_or(path, |(_, inner)| inner);
    let inner = Path::new(inner).with_extension("");
    let parts = inner.iter().map(|part| part.to_string_lossy().into_owned());
    parts
        .filter(|part| !["lib", "main", "mod"].contains(&part.as_str()))
        .collect()
}

fn documented(attributes: &[Attribute]) -> bool {
    attributes
        .iter()
        .any(|attribute| attribute.path().is_ident("doc"))
}

/// Whether there is a `#[test]` or a `#[cfg(test)]`.
fn for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        Meta::Path(path) => path.is_ident("test"),
        Meta::List(list) => list.path.is_ident("cfg") && list.tokens.to_string() == "test",
        Meta::NameValue(_) => false,
    })
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Fn(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(source: &str) -> Vec<(usize, &'static str)> {
        let found = check("p/src/lib.rs", &format!("//! Doc.\n{source}"), 5);
        found
            .findings
            .into_iter()
            .map(|finding| (finding.line, finding.rule))
            .collect()
    }

    #[test]
    fn each_rule_finds_its_line() {
        assert_eq!(rules("fn f() { g().unwrap(); }"), [(2, "no-unwrap")]);
        assert_eq!(
            rules("fn f() {\n    println!(\"x\");\n}"),
            [(3, "no-print")]
        );
        assert_eq!(rules("pub struct S;"), [(2, "missing-docs")]);
        assert_eq!(
            rules("struct S;\nimpl S {\n    pub fn f(&self) {}\n}"),
            [(4, "missing-docs")]
        );
        assert_eq!(rules("fn f() { unsafe { g() } }"), [(2, "no-unsafe")]);
        assert_eq!(rules("fn f() {\n\n\n\n\n\n}"), [(2, "long-function")]);
        assert_eq!(rules("fn f( {"), [(2, "syntax")]);
    }

    #[test]
    fn tests_may_unwrap_and_strings_are_no_code() {
        assert!(
            rules("#[cfg(test)]\nmod tests {\n    #[test]\n    fn t() { g().unwrap(); }\n}")
                .is_empty()
        );
        assert!(rules("const TEXT: &str = \"x.unwrap()\";").is_empty());
    }

    #[test]
    fn tests_are_named_as_the_test_binary_names_them() {
        let names = |path: &str, source: &str| {
            check(path, source, 60)
                .tests
                .into_iter()
                .map(|test| test.name)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            names("p/src/a/b.rs", "mod tests {\n#[test]\nfn t() {}\n}"),
            ["a::b::tests::t"]
        );
        assert_eq!(names("p/tests/c.rs", "#[test]\nfn t() {}"), ["c::t"]);
        assert_eq!(names("p/src/lib.rs", "#[test]\nfn t() {}"), ["t"]);
    }
}
