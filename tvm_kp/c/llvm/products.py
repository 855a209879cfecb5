"""LLVM's text of the helpers that multiply tiles, with the assembly of ``product_assembly``."""

from __future__ import annotations

from collections.abc import Iterator

from tvm_kp.c.product_helpers import Product, parse_product


def product_text(name: str) -> str:
    """The definition of the helper ``name``; the C of ``product_helpers`` says what it does."""
    return "\n".join(_Text(parse_product(name)).lines())


class _Text:
    def __init__(self, product: Product) -> None:
        self._product, self._tile = product, product.tile
        self._moving = "x" if self._tile.along else "w"
        _, self._times, _ = self._tile.looped
        # Registers are scarce: what the assembly reads of memory has one pointer.
        self._has_memory = bool(self._times) or self._tile.start != "none"

    def lines(self) -> Iterator[str]:
        product, tile = self._product, self._tile
        yield f"define i32 @{product.name}({', '.join(self._parameters())}) {{"
        yield "  %memory = alloca [2 x ptr], align 4"
        if self._tile.start != "none":
            yield "  store ptr %start, ptr %memory"
        types = {"w": "i16" if tile.wide else "i8", "x": "i16"}
        bytes_of = f"mul i32 %tiles, {product.step(self._moving)}"
        yield f"  %moved = {bytes_of}"
        yield f"  %last = getelementptr {types[self._moving]}, ptr %{self._moving}, i32 %moved"
        yield "  br label %tile"
        yield "tile:"
        for pointer in self._carried():
            yield f"  %{pointer}_now = phi ptr [ %{pointer}, %0 ], [ %{pointer}_next, %next ]"
        yield from self._sums()
        yield from self._stores()
        yield "next:"
        step, stride = (tile.columns, "column_stride") if tile.along else (tile.rows, "row_stride")
        yield f"  %on = mul i32 %{stride}, {step}"
        yield f"  %out_next = getelementptr i{product.bits}, ptr %out_now, i32 %on"
        if product.factor != "one":
            count = product.advance(product.factor)
            yield f"  %factor_next = getelementptr i32, ptr %factor_now, i32 {count}"
        yield "  br label %tile"
        yield "end:"
        yield "  ret i32 0"
        yield "}"

    def _parameters(self) -> Iterator[str]:
        yield from ("ptr %out", "ptr %w", "ptr %x")
        if self._tile.start != "none":
            yield "ptr %start"
        yield "i32 %factor" if self._product.factor == "one" else "ptr %factor"
        yield from ("i32 %tiles", "i32 %row_stride", "i32 %rows")
        if self._tile.columns > 1:
            yield from ("i32 %column_stride", "i32 %columns")

    def _carried(self) -> list[str]:
        """The pointers that a tile changes."""
        return ["out", self._moving, *([] if self._product.factor == "one" else ["factor"])]

    def _sums(self) -> Iterator[str]:
        """``%sum<k>``, and where the operand that moves is for the next tile."""
        tile, moving = self._tile, self._moving
        pointers = {name: f"%{name}_now" if name == moving else f"%{name}" for name in "wx"}
        before, times, unroll = tile.looped
        if times:
            looped = 2 * tile.batch * tile.columns * (before + times * unroll)
            yield f"  %stop = getelementptr i16, ptr {pointers['x']}, i32 {looped}"
            yield "  %second = getelementptr ptr, ptr %memory, i32 1"
            yield "  store ptr %stop, ptr %second"
        count = len(tile.sums)
        results = [f"=&{{{name}}}" for name in tile.sums] + ["=&{r11}", "=&{r12}"]
        inputs = [f"{count}", f"{count + 1}", *(["r"] if self._has_memory else [])]
        changed = [f"~{{{name}}}" for name in (*tile.clobbered, "cc", "memory")]
        constraints = ",".join([*results, *inputs, *changed])
        type_ = f"{{ {', '.join(['i32'] * count + ['ptr'] * 2)} }}"
        args = [f"ptr {pointers['w']}", f"ptr {pointers['x']}"]
        args += ["ptr %memory"] if self._has_memory else []
        yield f'  %all = call {type_} asm sideeffect "{self._assembly()}", "{constraints}"'
        yield f"    ({', '.join(args)}) nounwind"
        yield from (f"  %sum{k} = extractvalue {type_} %all, {k}" for k in range(count))
        place = count + "wx".index(moving)
        yield f"  %{moving}_next = extractvalue {type_} %all, {place}"
        yield f"  %done = icmp eq ptr %{moving}_next, %last"

    def _assembly(self) -> str:
        count = len(self._tile.sums)
        memory = f"${count + 4}"
        places = {
            "%[w]": f"${count}",
            "%[x]": f"${count + 1}",
            "%[start]": f"[{memory}]",
            "%[end]": f"[{memory}, #4]",
        }
        text = "\\0A".join(self._tile.lines)
        for name, place in places.items():
            text = text.replace(name, place)
        return text

    def _stores(self) -> Iterator[str]:
        """Requantize and store; in the last tile rows or columns may lack."""
        tile = self._tile
        outer, inner = ("column", "row") if tile.along else ("row", "column")
        size = {"row": tile.rows, "column": tile.columns}
        yield from self._factors()
        for k in range(size[outer]):
            if k:
                yield from self._ends(outer, k, f"outer{k}")
            for j in range(size[inner]):
                row, column = (j, k) if tile.along else (k, j)
                label = f"{row}_{column}"
                if j:
                    yield f"  %there{label} = icmp sgt i32 %{inner}s, {j}"
                    yield f"  br i1 %there{label}, label %store{label}, label %behind{label}"
                    yield f"store{label}:"
                yield from self._store(row, column)
                if j:
                    yield f"  br label %behind{label}"
                    yield f"behind{label}:"
        yield "  br i1 %done, label %end, label %next"

    def _factors(self) -> Iterator[str]:
        """``%by<k>``, what sum ``k`` is multiplied by."""
        form = self._product.factor
        if form == "one":
            return
        for k in range(len(self._tile.sums)):
            place = self._product.index(form, k)
            yield f"  %at{k} = getelementptr i32, ptr %factor_now, i32 {place}"
            yield f"  %by{k} = load i32, ptr %at{k}"

    def _ends(self, axis: str, k: int, label: str) -> Iterator[str]:
        """Go to ``label`` unless this is the last tile, and it has ``k`` along ``axis``.

        Where the tile has one column there is no parameter that says so.
        """
        yield f"  %few{label} = icmp eq i32 %{axis}s, {k}"
        yield f"  %ends{label} = and i1 %few{label}, %done"
        yield f"  br i1 %ends{label}, label %end, label %{label}"
        yield f"{label}:"

    def _store(self, row: int, column: int) -> Iterator[str]:
        product, k = self._product, row * self._tile.columns + column
        total, by = f"%sum{k}", "%factor" if product.factor == "one" else f"%by{k}"
        if product.left:
            yield from _saturated(f"%kept{k}", total, 32 - product.left)
            yield f"  %shifted{k} = shl i32 %kept{k}, {product.left}"
            total = f"%shifted{k}"
        yield f"  %high{k} = call i32 @kp_multiply_high(i32 {total}, i32 {by})"
        yield from _saturated(f"%near{k}", f"%high{k}", product.bits)
        yield f"  %low{k} = trunc i32 %near{k} to i{product.bits}"
        yield f"  %row{k} = mul i32 %row_stride, {row}"
        place = f"%row{k}"
        if column:
            yield f"  %column{k} = mul i32 %column_stride, {column}"
            yield f"  %place{k} = add i32 %row{k}, %column{k}"
            place = f"%place{k}"
        yield f"  %to{k} = getelementptr i{product.bits}, ptr %out_now, i32 {place}"
        yield f"  store i{product.bits} %low{k}, ptr %to{k}"


def _saturated(result: str, value: str, bits: int) -> Iterator[str]:
    """``result``, ``value`` saturated to ``bits``."""
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    yield f"  {result}_low = call i32 @llvm.smin.i32(i32 {value}, i32 {high})"
    yield f"  {result} = call i32 @llvm.smax.i32(i32 {result}_low, i32 {low})"
