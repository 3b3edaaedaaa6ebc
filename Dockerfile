# pfmemd with the model compiled to native code. `docker build -t pfmemd .`

# The full image has the C compiler that the model is compiled with; it stays behind.
FROM python:3.13.9-trixie AS builder
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY allocator/ allocator/
COPY tracegen/ tracegen/
COPY daemon/ daemon/
COPY dashboards/ dashboards/
RUN python -m venv /opt/pfmemd \
    && HATCH_BUILD_HOOKS_ENABLE=1 CFLAGS=-fno-semantic-interposition \
       /opt/pfmemd/bin/pip install --no-cache-dir . \
    # -P: the installed model, not the sources here, must be the compiled one.
    && /opt/pfmemd/bin/python -P -c "import allocator; assert allocator.COMPILED" \
    && mkdir /opt/pfmemd/share \
    # What docker-compose.yml replays; the arguments are those of tracegen/samples.
    && /opt/pfmemd/bin/pfmemd import ftrace tracegen/samples/nbd-swap-excerpt.ftrace.xz \
        --proc tracegen/samples/nbd-swap-proc --free-pages DMA=278,DMA32=566 \
        --clock mono --source nbd-swap -o /opt/pfmemd/share/nbd-swap.pfmt

FROM python:3.13.9-slim-trixie
COPY --from=builder /opt/pfmemd /opt/pfmemd
# Whoever mounts a volume here gets it with this owner.
RUN mkdir /var/lib/pfmemd /report && chown 10001:10001 /var/lib/pfmemd /report
ENV PATH=/opt/pfmemd/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
# A number, so that an orchestrator can see that it is not root.
USER 10001:10001
EXPOSE 5571 9571
ENTRYPOINT ["pfmemd"]
CMD ["--help"]
