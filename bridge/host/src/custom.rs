// SPDX-License-Identifier: Apache-2.0
//! Functions of C behind imports that the bridge itself does not know.
//!
//! They are linked with the types under which the program imports them. Arguments are lifted as
//! `Val`s and charged to the call's host-call bytes by Wasmtime; they run on the thread that polls.

use std::ffi::c_void;

use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, Linker, Val};
use wasmtime::{Engine, Result, StoreContextMut, bail};

use crate::fail::{BadHostValue, Defect, Fail, FailureKind, Stopped};
use crate::ffi::{Custom, CustomFn, NO_TYPE, Value};
use crate::limits::Ctx;
use crate::types::{Kind, Types};
use crate::value::Answer;

struct Function {
    name: String,
    types: Box<Types>,
    call: CustomFn,
    data: *mut c_void,
}

// Safety: C promises that its functions and their data may be used on whichever thread polls.
unsafe impl Send for Function {}
// Safety: as above; the bridge never touches what `data` points to.
unsafe impl Sync for Function {}

/// # Safety
/// The spans of `customs` are readable.
pub unsafe fn link(
    linker: &mut Linker<Ctx>,
    engine: &Engine,
    component: &Component,
    customs: &[Custom],
) -> std::result::Result<(), Fail> {
    let internal = |e: wasmtime::Error| Fail::from_wasmtime(&e, FailureKind::Internal);
    let ty = component.component_type();
    for custom in customs {
        // Safety: the caller's promise.
        let (interface, name) =
            unsafe { (custom.interface.text("an interface")?, custom.name.text("a function")?) };
        let found = match ty.get_import(engine, interface).map(|e| e.ty) {
            Some(ComponentItem::ComponentInstance(i)) => i.get_export(engine, name).map(|e| e.ty),
            _ => None,
        };
        let Some(ComponentItem::ComponentFunc(func)) = found else { continue };
        let fail = |why: &str| Fail::new(FailureKind::Link, format!("{interface}#{name}: {why}"));
        let types = Types::of_component(&func).map_err(fail)?;
        if types.has_other() {
            return Err(fail("a resource cannot be passed as a value"));
        }
        let Some(call) = custom.call else {
            return Err(Fail::new(FailureKind::Config, "a host function without a function"));
        };
        let function = Function { name: name.to_owned(), types, call, data: custom.data };
        let mut instance = linker.instance(interface).map_err(internal)?;
        instance
            .func_new(name, move |store, _, args, results| function.enter(store, args, results))
            .map_err(internal)?;
    }
    Ok(())
}

impl Function {
    fn enter(
        &self,
        store: StoreContextMut<'_, Ctx>,
        args: &[Val],
        results: &mut [Val],
    ) -> Result<()> {
        let mut lifted = Answer::default();
        let pairs = args.iter().zip(self.types.params());
        let args = pairs.map(|(arg, (_, ty))| lifted.convert(&self.types, *ty, arg.clone()));
        let args = args.collect::<std::result::Result<Vec<_>, _>>()?;
        let mut ret = Value::natural(Kind::Other, 0);
        let user = store.data().c.user;
        // Safety: `user` is valid until the call is freed; the arguments live through the call.
        let done = unsafe { (self.call)(user, self.data, args.as_ptr(), args.len(), &mut ret) };
        if !done {
            return Err(Stopped.into());
        }
        match results {
            [] => {}
            [result] if self.types.result != NO_TYPE => {
                // Safety: C's promise: the value holds until one of its functions is entered again.
                let val = unsafe { ret.to_val(&self.types, self.types.result) };
                *result = val.map_err(|Defect(what)| {
                    BadHostValue(format!("the host's function {} returned {what}", self.name))
                })?;
            }
            _ => bail!(Defect("results that the type has not".into())),
        }
        Ok(())
    }
}
