/* A memory per place in the code of where an attribute lies in its object.

   Cython asks the type for every attribute of an object that it knows nothing of: a look-up in the type, a
   descriptor, a read. The interpreter has remembered the answer per instruction since CPython 3.11 (LOAD_ATTR
   for slots) and so is faster at this than code compiled without it. Here it is remembered likewise: type, its
   version and the offset of the slot. Every change of a type or of one of its bases gives it a new version,
   so what is remembered is never read after it has become wrong.

   Only plain slots are remembered (msgspec.Struct fields, __slots__) of types with the generic attribute
   access; everything else, an empty slot and a place that sees many types included, goes the usual way.

   Source: PEP 659, specializing adaptive interpreter; CPython's own LOAD_ATTR_SLOT. */

#ifndef QTINFRA_ATTRIBUTE_CACHE_H
#define QTINFRA_ATTRIBUTE_CACHE_H

#include <Python.h>
#include <structmember.h>

#if defined(__GNUC__) && !defined(PYPY_VERSION) && !defined(GRAALVM_PYTHON) && !defined(Py_GIL_DISABLED) \
    && !defined(Py_LIMITED_API)
#define QTINFRA_ATTRIBUTE_CACHE 1

/* After so many misses a place is taken for one that sees many types, or no slots, and left alone. */
#define QTINFRA_MAX_MISSES 256

typedef struct {
    PyTypeObject *type;
    unsigned int version;
    unsigned int misses;
    Py_ssize_t offset;
} qtinfra_slot;

/* The usual access, which also remembers the slot if there is one. */
static __attribute__((noinline, unused)) PyObject *
qtinfra_slot_missed(PyObject *object, PyObject *name, qtinfra_slot *slot)
{
    PyTypeObject *type = Py_TYPE(object);
    PyObject *value = PyObject_GetAttr(object, name);
    PyObject *found;

    if (value == NULL || slot->misses >= QTINFRA_MAX_MISSES)
        return value;
    slot->misses++;
    if (type->tp_getattro != PyObject_GenericGetAttr || type->tp_version_tag == 0)
        return value;
    found = PyObject_GetAttr((PyObject *)type, name);
    if (found == NULL) {
        PyErr_Clear();
        return value;
    }
    if (Py_IS_TYPE(found, &PyMemberDescr_Type)) {
        PyMemberDef *member = ((PyMemberDescrObject *)found)->d_member;
        if (member->type == T_OBJECT_EX && (member->flags & ~READONLY) == 0
            && PyType_IsSubtype(type, PyDescr_TYPE(found)) && type->tp_version_tag != 0) {
            slot->type = type;
            slot->version = type->tp_version_tag;
            slot->offset = member->offset;
        }
    }
    Py_DECREF(found);
    return value;
}

static inline __attribute__((unused)) PyObject *
qtinfra_get_attribute(PyObject *object, PyObject *name, qtinfra_slot *slot)
{
    PyTypeObject *type = Py_TYPE(object);

    if (__builtin_expect(type == slot->type && type->tp_version_tag == slot->version, 1)) {
        PyObject *value = *(PyObject **)((char *)object + slot->offset);
        if (__builtin_expect(value != NULL, 1))
            return Py_NewRef(value);
    }
    return qtinfra_slot_missed(object, name, slot);
}

/* One memory per place where it stands. */
#define QTINFRA_GET_ATTRIBUTE(object, name)                  \
    (__extension__({                                         \
        static qtinfra_slot qtinfra_slot_here;               \
        qtinfra_get_attribute(object, name, &qtinfra_slot_here); \
    }))

#endif
#endif
