//! What a module would cost to compile, told from its bytes: the shapes that make a compiler's work grow faster than the
//! code, each with its bound.
//!
//! A compiler cannot be interrupted, so what is too dear is refused before it starts. The bounds are several times what
//! the largest real programs have (the interpreter of Python in a component: 3,100 blocks in one function, loops 6 deep,
//! 67,000 locals × blocks) and leave the worst function some seconds; a test of each shape keeps them.

use wasmparser::{
    BinaryReaderError, BlockType, CompositeInnerType, FunctionBody, Operator, Payload, TypeRef,
};

use super::inspect::malformed;
use super::{Budget, LoadError};

/// Bytes of one function, and of all.
const BODY_BYTES: u64 = 1 << 20;
const CODE_BYTES: u64 = 64 << 20;
const FUNCTIONS: u64 = 150_000;
const LOCALS: u64 = 20_000;
/// Parameters and results of one type.
const TYPE_VALUES: u64 = 256;
const TYPES: u64 = 100_000;
/// Blocks, loops and branches of one function, and of all: each begins a piece of code to be joined with others.
const BLOCKS: u64 = 25_000;
const ALL_BLOCKS: u64 = 600_000;
const LOOPS: u64 = 2_000;
const LOOP_DEPTH: u64 = 16;
/// Locals × blocks of one function, and of all: where blocks join, every local is joined.
const JOINS: u64 = 300_000;
const ALL_JOINS: u64 = 8_000_000;
/// Locals × the depths of all loops of one function, and of all: a local that lives around loops is looked at again for
/// each loop that it lives in. Measured: 2 million cost the register allocator 6 to 8 seconds.
const LOOPED: u64 = 400_000;
const ALL_LOOPED: u64 = 4_000_000;
/// Values passed by calls and branches of one function, and of all: two bytes of a call can pass hundreds.
const PASSED: u64 = 150_000;
const ALL_PASSED: u64 = 6_000_000;

/// What is spent by all modules of a component.
#[derive(Default)]
pub(super) struct Spent {
    functions: Budget,
    types: Budget,
    code_bytes: Budget,
    blocks: Budget,
    joins: Budget,
    looped: Budget,
    passed: Budget,
}

/// Parameters and results of a function type.
#[derive(Clone, Copy, Default)]
struct Arity {
    params: u32,
    results: u32,
}

/// What a module declares that the cost of its functions depends on.
#[derive(Default)]
pub(super) struct Declared {
    types: Vec<Arity>,
    /// The type of each function, imported ones first.
    functions: Vec<u32>,
}

impl Declared {
    /// Takes note of a section, and counts what it costs.
    ///
    /// # Errors
    /// When it is malformed or costs too much.
    pub(super) fn note(
        &mut self,
        payload: &Payload<'_>,
        spent: &mut Spent,
    ) -> Result<(), LoadError> {
        match payload {
            Payload::TypeSection(section) => {
                spent.types.add(section.count().into(), TYPES, "types")?;
                self.note_types(section.clone())
            }
            Payload::ImportSection(section) => {
                for import in section.clone().into_imports() {
                    if let TypeRef::Func(index) | TypeRef::FuncExact(index) =
                        import.map_err(|e| malformed(&e))?.ty
                    {
                        self.functions.push(index);
                    }
                }
                Ok(())
            }
            Payload::FunctionSection(section) => {
                spent
                    .functions
                    .add(section.count().into(), FUNCTIONS, "functions")?;
                for index in section.clone() {
                    self.functions.push(index.map_err(|e| malformed(&e))?);
                }
                Ok(())
            }
            Payload::CodeSectionEntry(body) => self.count_function(body, spent),
            _ => Ok(()),
        }
    }

    fn note_types(&mut self, section: wasmparser::TypeSectionReader<'_>) -> Result<(), LoadError> {
        for group in section {
            for ty in group.map_err(|e| malformed(&e))?.types() {
                let arity = match &ty.composite_type.inner {
                    CompositeInnerType::Func(ty) => {
                        let (params, results) = (ty.params().len(), ty.results().len());
                        Budget::at_most(
                            (params + results) as u64,
                            TYPE_VALUES,
                            "parameters and results in one type",
                        )?;
                        Arity {
                            params: u32::try_from(params).unwrap_or(u32::MAX),
                            results: u32::try_from(results).unwrap_or(u32::MAX),
                        }
                    }
                    _ => Arity::default(),
                };
                self.types.push(arity);
            }
        }
        Ok(())
    }

    fn count_function(&self, body: &FunctionBody<'_>, spent: &mut Spent) -> Result<(), LoadError> {
        let bytes = body.range().len() as u64;
        Budget::at_most(bytes, BODY_BYTES, "bytes in one function")?;
        spent.code_bytes.add(bytes, CODE_BYTES, "bytes of code")?;
        let mut locals = Budget::default();
        for group in body.get_locals_reader().map_err(|e| malformed(&e))? {
            locals.add(
                group.map_err(|e| malformed(&e))?.0.into(),
                LOCALS,
                "locals in one function",
            )?;
        }
        let mut function = Function {
            declared: self,
            labels: Vec::new(),
            nested_loops: 0,
            blocks: 0,
            loops: 0,
            loop_depths: 0,
            passed: 0,
        };
        for operator in body.get_operators_reader().map_err(|e| malformed(&e))? {
            function
                .step(&operator.map_err(|e| malformed(&e))?)
                .map_err(|e| malformed(&e))?;
            function.check(locals.spent())?;
        }
        let joins = locals.spent().saturating_mul(function.blocks);
        spent.blocks.add(function.blocks, ALL_BLOCKS, "blocks")?;
        spent.joins.add(joins, ALL_JOINS, "locals × blocks")?;
        let looped = locals.spent().saturating_mul(function.loop_depths);
        spent
            .looped
            .add(looped, ALL_LOOPED, "locals × depths of loops")?;
        spent.passed.add(
            function.passed,
            ALL_PASSED,
            "values passed by calls and branches",
        )
    }

    fn arity(&self, ty: u32) -> Arity {
        self.types.get(ty as usize).copied().unwrap_or_default()
    }
}

/// A block that is open: the values that a branch to it passes.
struct Label {
    values: u32,
    is_loop: bool,
}

/// The counts of one function while it is read. It need not be valid: what refers to nothing counts nothing, and the
/// validator refuses it later.
struct Function<'a> {
    declared: &'a Declared,
    labels: Vec<Label>,
    nested_loops: u64,
    blocks: u64,
    loops: u64,
    /// How deep each loop lies, added up.
    loop_depths: u64,
    passed: u64,
}

impl Function<'_> {
    fn step(&mut self, operator: &Operator<'_>) -> Result<(), BinaryReaderError> {
        match operator {
            Operator::Block { blockty } | Operator::If { blockty } => self.open(*blockty, false),
            Operator::Loop { blockty } => self.open(*blockty, true),
            Operator::Else => self.blocks += 1,
            Operator::End => {
                let was_loop = self.labels.pop().is_some_and(|label| label.is_loop);
                self.nested_loops = self.nested_loops.saturating_sub(u64::from(was_loop));
            }
            Operator::Br { relative_depth } | Operator::BrIf { relative_depth } => {
                self.branch(*relative_depth)
            }
            Operator::BrTable { targets } => {
                self.branch(targets.default());
                for target in targets.targets() {
                    self.pass(self.values_of(target?));
                }
            }
            Operator::Call { function_index } => {
                let ty = self
                    .declared
                    .functions
                    .get(*function_index as usize)
                    .copied()
                    .unwrap_or(u32::MAX);
                self.call(ty);
            }
            Operator::CallIndirect { type_index, .. } => self.call(*type_index),
            _ => {}
        }
        Ok(())
    }

    fn open(&mut self, ty: BlockType, is_loop: bool) {
        let arity = match ty {
            BlockType::Empty => Arity::default(),
            BlockType::Type(_) => Arity {
                params: 0,
                results: 1,
            },
            BlockType::FuncType(index) => self.declared.arity(index),
        };
        self.labels.push(Label {
            values: if is_loop { arity.params } else { arity.results },
            is_loop,
        });
        self.pass(arity.params.saturating_add(arity.results));
        self.blocks += 1;
        self.loops += u64::from(is_loop);
        self.nested_loops += u64::from(is_loop);
        if is_loop {
            self.loop_depths += self.nested_loops;
        }
    }

    fn values_of(&self, depth: u32) -> u32 {
        let from_end = self.labels.len().checked_sub(depth as usize + 1);
        from_end
            .and_then(|at| self.labels.get(at))
            .map_or(0, |label| label.values)
    }

    fn branch(&mut self, depth: u32) {
        self.pass(self.values_of(depth));
    }

    fn call(&mut self, ty: u32) {
        let arity = self.declared.arity(ty);
        self.pass(arity.params.saturating_add(arity.results));
    }

    fn pass(&mut self, values: u32) {
        self.passed = self.passed.saturating_add(values.into());
    }

    fn check(&self, locals: u64) -> Result<(), LoadError> {
        Budget::at_most(self.blocks, BLOCKS, "blocks in one function")?;
        Budget::at_most(self.loops, LOOPS, "loops in one function")?;
        Budget::at_most(self.nested_loops, LOOP_DEPTH, "loops within loops")?;
        Budget::at_most(
            locals.saturating_mul(self.blocks),
            JOINS,
            "locals × blocks in one function",
        )?;
        Budget::at_most(
            locals.saturating_mul(self.loop_depths),
            LOOPED,
            "locals × depths of loops in one function",
        )?;
        Budget::at_most(
            self.passed,
            PASSED,
            "values passed by calls and branches in one function",
        )
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::inspect::inspect;
    use super::*;

    fn refusal(fields: &str) -> &'static str {
        match inspect(&wat::parse_str(format!("(module {fields})")).unwrap()) {
            Err(LoadError::TooComplex { what, .. }) => what,
            Err(other) => panic!("{other}"),
            Ok(_) => "",
        }
    }

    #[test]
    fn large_functions_are_refused() {
        assert_eq!(
            refusal(&format!("(func (local {}))", "i64 ".repeat(30_000))),
            "locals in one function"
        );
        assert_eq!(
            refusal(&format!("(func {})", "nop ".repeat(2 << 20))),
            "bytes in one function"
        );
        assert_eq!(refusal(&"(func)".repeat(200_000)), "functions");
    }

    #[test]
    fn code_that_joins_too_much_is_refused() {
        let loops = |count: usize| "(loop (br_if 0 (i32.const 0)))".repeat(count);
        assert_eq!(refusal(&format!("(func {})", loops(1_000))), "");
        assert_eq!(
            refusal(&format!("(func {})", loops(3_000))),
            "loops in one function"
        );
        let nested =
            |depth: usize| format!("(func {}{})", "(loop ".repeat(depth), ")".repeat(depth));
        assert_eq!(refusal(&nested(16)), "");
        assert_eq!(refusal(&nested(17)), "loops within loops");
        assert_eq!(
            refusal(&format!("(func {})", "(block)".repeat(30_000))),
            "blocks in one function"
        );
        let locals = "i32 ".repeat(1_500);
        assert_eq!(
            refusal(&format!("(func (local {locals}) {})", loops(1_000))),
            "locals × blocks in one function"
        );
        let few = "i32 ".repeat(250);
        let nest = format!("{}{}", "(loop ".repeat(16), ")".repeat(16));
        let nests = |count: usize| format!("(func (local {few}) {})", nest.repeat(count));
        assert_eq!(refusal(&nests(10)), "");
        assert_eq!(
            refusal(&nests(14)),
            "locals × depths of loops in one function"
        );
        assert_eq!(refusal(&nests(10).repeat(12)), "locals × depths of loops");
        let part = format!("(func (local {locals}) {})", "(block)".repeat(150));
        assert_eq!(refusal(&part), "");
        assert_eq!(refusal(&part.repeat(40)), "locals × blocks");
    }

    #[test]
    fn code_that_passes_too_many_values_is_refused() {
        let values = |n: usize| "i64 ".repeat(n);
        assert_eq!(
            refusal(&format!("(type (func (param {})))", values(300))),
            "parameters and results in one type"
        );
        let (many, constants) = (values(100), "(i64.const 1) ".repeat(100));
        let functions = format!("(func $f (result {many}) {constants}) (func $g (param {many}))");
        let calls = |n: usize| format!("{functions} (func {})", "(call $f) (call $g) ".repeat(n));
        assert_eq!(refusal(&calls(100)), "");
        let passed = "values passed by calls and branches in one function";
        assert_eq!(refusal(&calls(1_000)), passed);
        let branches = "(br_if 0 (i32.const 0)) ".repeat(2_000);
        assert_eq!(
            refusal(&format!(
                "(func (block (result {many}) {constants} {branches}) unreachable)"
            )),
            passed
        );
        let targets = "0 ".repeat(2_000);
        let table = format!(
            "(func (block (result {many}) {constants} (br_table {targets} (i32.const 0))) unreachable)"
        );
        assert_eq!(refusal(&table), passed);
    }
}
