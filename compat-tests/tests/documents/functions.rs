//! Definitions of functions in Rust source, from its syntax tree: a comment or a text with `fn NAME(` is none.

use std::collections::BTreeSet;

use syn::visit::{self, Visit};
use syn::{Attribute, ImplItemFn, ItemFn, ItemMod, TraitItemFn};

/// Names of the functions that a source file defines.
#[derive(Default)]
pub(crate) struct Functions {
    /// Functions and methods outside of modules for tests.
    pub(crate) code: BTreeSet<String>,
    /// Functions with the attribute `#[test]`.
    pub(crate) tests: BTreeSet<String>,
}

impl Functions {
    /// The functions that `source` defines.
    ///
    /// # Panics
    /// If it is not the source of a Rust file.
    pub(crate) fn parse(source: &str) -> Self {
        let mut functions = Self::default();
        functions.visit_file(&syn::parse_file(source).unwrap());
        functions
    }

    fn add(&mut self, attributes: &[Attribute], name: &syn::Ident) {
        let functions = if has(attributes, "test") { &mut self.tests } else { &mut self.code };
        functions.insert(name.to_string());
    }
}

impl Visit<'_> for Functions {
    fn visit_item_fn(&mut self, function: &ItemFn) {
        self.add(&function.attrs, &function.sig.ident);
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &ImplItemFn) {
        self.add(&function.attrs, &function.sig.ident);
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &TraitItemFn) {
        self.add(&function.attrs, &function.sig.ident);
        visit::visit_trait_item_fn(self, function);
    }

    fn visit_item_mod(&mut self, module: &ItemMod) {
        if !has(&module.attrs, "cfg") || module.ident != "tests" {
            visit::visit_item_mod(self, module);
        }
    }
}

/// True if one of the attributes is named `name`, as the last part of its path: `#[tokio::test]` is a `test`.
fn has(attributes: &[Attribute], name: &str) -> bool {
    attributes.iter().any(|attribute| attribute.path().segments.last().is_some_and(|last| last.ident == name))
}

#[test]
fn definitions_count_and_comments_and_texts_do_not() {
    let functions = Functions::parse(
        "// fn commented() {}\n/// fn documented() {}\nconst TEXT: &str = \"fn written() {}\";\n\
         fn plain<T>() { fn inner() {} }\nstruct S;\n\
         impl S { async fn method(&self) {} }\ntrait T { fn required(&self); }\n\
         #[test]\nfn tested() {}\n#[tokio::test(flavor = \"multi_thread\")]\nasync fn tested_too() {}\n\
         #[cfg(test)]\nmod tests { fn helper() {} #[test] fn unit() {} }\n",
    );
    assert_eq!(Vec::from_iter(functions.code), ["inner", "method", "plain", "required"]);
    assert_eq!(Vec::from_iter(functions.tests), ["tested", "tested_too"]);
}
