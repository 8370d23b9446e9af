// The clock of benches under Verilator.
#include "Vbenches.h"
#include "verilated.h"

int main(int argc, char** argv) {
    VerilatedContext context;
    context.commandArgs(argc, argv);
    Vbenches benches{&context};
    benches.clk = 0;
    benches.eval();
    while (!context.gotFinish()) {
        benches.clk = !benches.clk;
        benches.eval();
    }
    benches.final();
    return 0;
}
